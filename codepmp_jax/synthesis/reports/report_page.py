"""The report as one HTML page that needs nothing beside it: samples of pairs, figures, plots, tables."""

from __future__ import annotations

import collections
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from codepmp_jax.cli import html_page
from codepmp_jax.cli.html_page import section, table
from codepmp_jax.synthesis.reports.report import ALL, SIDES, UNITS

_COLORS = {"chosen": "#1f5fa8", "rejected": "#c2571a"}
_PANEL_INCHES = (5.6, 3.6)
_DPI = 110
# Bars beyond so many are summed up.
_MAX_BARS = 12


def write_page(
    report: Mapping[str, Any], path: str | os.PathLike[str], title: str = "Preference pairs"
) -> None:
    """Writes the page of a report (`codepmp_jax.synthesis.reports.report.make_report`), whole or not at all."""
    html_page.write(path, make_page(report, title))


def make_page(report: Mapping[str, Any], title: str) -> str:
    """The page's HTML; equal reports, equal pages up to the bytes of the plots."""
    splits = {name: part for name, part in report.items() if _is_split(part)}
    throughput = report.get("throughput", [])
    sections = [
        section("Samples of train pairs", _samples(report.get("samples", []))),
        section("Splits", _summary(splits, report.get("near_duplicate_rates", {}))),
        section("Plots", _plots(splits, throughput)),
        section("Sources without a pair", _drops(splits)),
        section("Length", _lengths(splits)),
        section("Origin and ends of the texts", _origins(splits)),
        section("Throughput", _throughput(throughput)),
    ]
    return html_page.page(title, sections)


def _is_split(part: Any) -> bool:
    return isinstance(part, Mapping) and "pairs" in part


# --- samples --------------------------------------------------------------------------------------


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    """Each pair's prompt above its two responses."""
    shown = []
    for sample in samples:
        origin = " ".join(str(sample[name]) for name in ("repository", "path") if sample.get(name))
        title = " · ".join(filter(None, (sample["subset"], sample.get("language"), origin)))
        names = (("prompt", "describe"), *((side, side) for side in SIDES))
        captioned = [
            (_caption(name, sample["writers"].get(by)), sample[name]) for name, by in names
        ]
        shown.append(html_page.texts(title, captioned[:1]) + html_page.texts("", captioned[1:]))
    return "".join(shown)


def _caption(name: str, facts: Any) -> str:
    """`chosen: openai MODEL, 120 tokens, stop`, of what the lineage says of a text."""
    if not isinstance(facts, Mapping):
        return name
    writer = f"{facts.get('sampler', '')} {facts.get('model', '')}".strip()
    rate = f"rate {facts['rate']:g}" if "rate" in facts else ""
    length = f"{facts['num_tokens']:,} tokens" if facts.get("num_tokens") else ""
    said = ", ".join(filter(None, (writer, rate, length, facts.get("finish_reason"))))
    return f"{name}: {said}" if said else name


# --- tables ---------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _summary(splits: Mapping[str, Any], near_duplicate_rates: Mapping[str, float]) -> str:
    header = ("split", "sources", "pairs", "kept", *(f"longer wins, {unit}" for unit in UNITS))
    rows = []
    for name, part in splits.items():
        num_sources = part["pairs"] + sum(part["dropped"].values())
        lengths = part["lengths"].get(ALL)
        wins = [_percent(lengths[unit]["longer_wins"]) if lengths else "" for unit in UNITS]
        kept = _percent(part["pairs"] / num_sources) if num_sources else ""
        rows.append((name, num_sources, part["pairs"], kept, *wins))
    duplicates = [(name, _percent(rate)) for name, rate in near_duplicate_rates.items()]
    note = (
        "Longer wins: the accuracy of calling the longer response the better one, ties counted as "
        "halves. A reward model has to do better; 50 % gives nothing away."
    )
    found = html_page.tables(table(header, rows), table(("near-duplicates", "share"), duplicates))
    return found + html_page.paragraph(note)


def _drops(splits: Mapping[str, Any]) -> str:
    total = _total(splits, "dropped")
    rows = []
    for reason, count in total.most_common():
        of_split = [part["dropped"].get(reason, 0) for part in splits.values()]
        rows.append((*_pass_and_reason(reason), *of_split, _percent(count / total.total())))
    return table(("pass", "reason", *splits, "share"), rows, num_text=2)


def _pass_and_reason(reason: str) -> tuple[str, str]:
    """`chosen: empty` in two; what is judged of a pair as a whole has no pass."""
    name, colon, rest = reason.partition(": ")
    return (name, rest) if colon else ("pair", reason)


def _lengths(splits: Mapping[str, Any]) -> str:
    header = ["split", "subset", "pairs"]
    for unit in UNITS:
        header += [f"{unit}: longer wins", "ties", "mean chosen", "mean rejected"]
    rows = []
    for name, part in splits.items():
        for subset in _subsets(part["lengths"], html_page.MAX_ROWS):
            figures = part["lengths"][subset]
            row = [name, subset, figures["pairs"]]
            for unit in UNITS:
                found = figures[unit]
                row += [_percent(found["longer_wins"]), _percent(found["ties"])]
                row += [found["mean_chosen"], found["mean_rejected"]]
            rows.append(row)
    return table(header, rows, num_text=2)


def _origins(splits: Mapping[str, Any]) -> str:
    tables = []
    for entry, title in (("languages", "language"), ("licenses", "license")):
        total = _total(splits, entry)
        rows = [
            (name or "unknown", *(part[entry].get(name, 0) for part in splits.values()))
            for name, _ in total.most_common()
        ]
        tables.append(table((title, *splits), rows))
    ends = {
        (name, reason): None
        for part in splits.values()
        for name, reasons in part["finish_reasons"].items()
        for reason in reasons
    }
    rows = [
        (
            name,
            reason,
            *(part["finish_reasons"].get(name, {}).get(reason, 0) for part in splits.values()),
        )
        for name, reason in ends
    ]
    tables.append(table(("text", "ended by", *splits), rows, num_text=2))
    return html_page.tables(*tables)


def _throughput(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("texts", "tokens", "seconds", "texts_per_second", "tokens_per_second")
    header = ("pass", "worker", "texts", "tokens", "seconds", "texts/s", "tokens/s")
    return table(
        header, [(row["pass"], row["worker"], *(row[name] for name in names)) for row in rows], 2
    )


def _subsets(lengths: Mapping[str, Any], most: int) -> list[str]:
    """The subsets: all pairs, then the others of the `most` largest by name, numbers in names as numbers, then the rest."""
    largest = sorted(lengths, key=lambda name: (name != ALL, -lengths[name]["pairs"], name))

    def by_name(name: str) -> tuple[Any, ...]:
        parts = re.split(r"(\d+(?:\.\d+)?)", name.casefold())
        numbers = [(float(part), "") if i % 2 else (0.0, part) for i, part in enumerate(parts)]
        return name != ALL, numbers, name

    return sorted(largest[:most], key=by_name) + largest[most:]


def _total(splits: Mapping[str, Any], entry: str) -> collections.Counter[str]:
    total: collections.Counter[str] = collections.Counter()
    for part in splits.values():
        total.update(part[entry])
    return total


# --- plots ----------------------------------------------------------------------------------------


def _plots(splits: Mapping[str, Any], throughput: Sequence[Mapping[str, Any]]) -> str:
    """All splits together, panel by panel, of what there is to compare: a single bar is in the tables."""
    panels: list[tuple[str, Callable[[Axes], None]]] = []

    def add(title: str, draw: Callable[..., None], data: Any, *more: str, fewest: int = 2) -> None:
        if len(data) >= fewest:
            panels.append((title, lambda axes: draw(axes, data, *more)))

    for unit in UNITS:
        histograms = [part["length_histograms"][unit] for part in splits.values()]
        add(f"Length in {unit}", draw_lengths, _add_histograms(histograms), unit)
    add("The longer one wins", draw_longer_wins, _longer_wins(splits), fewest=3)  # all, and two
    add("Sources without a pair", draw_counts, _total(splits, "dropped"), "sources")
    add("Languages", draw_counts, _total(splits, "languages"), "pairs")
    add("Licenses", draw_counts, _total(splits, "licenses"), "pairs")
    add("Throughput of each worker", draw_throughput, throughput)
    return html_page.plots(html_page.image(title, _figure(title, draw)) for title, draw in panels)


def _figure(title: str, draw: Callable[[Axes], None]) -> Figure:
    with html_page.plain_names():
        figure = Figure(figsize=_PANEL_INCHES, dpi=_DPI, layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
    return figure


def _add_histograms(histograms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of histograms that begin at the same edge; empty where they hold no text."""
    if not any(histogram["chosen"] for histogram in histograms):
        return {}
    total = {"edges": max((histogram["edges"] for histogram in histograms), key=len)}
    for side in SIDES:
        columns = itertools.zip_longest(*(found[side] for found in histograms), fillvalue=0)
        total[side] = [sum(column) for column in columns]
    return total


def draw_lengths(axes: Axes, histogram: Mapping[str, Any], unit: str) -> None:
    """How many of the texts of either side are how long."""
    for side in SIDES:
        counts = histogram[side]
        shares = [count / sum(counts) for count in counts]
        color = _COLORS[side]
        axes.stairs(shares, histogram["edges"], fill=True, color=color, alpha=0.12)
        axes.stairs(shares, histogram["edges"], color=color, linewidth=1.8, label=side)
    both = zip(*(histogram[side] for side in SIDES), strict=True)
    held = [place for place, counts in enumerate(both) if any(counts)]
    axes.set_xscale("log", base=2)
    axes.set_xlim(histogram["edges"][held[0]] / 1.2, histogram["edges"][held[-1] + 1] * 1.2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel(unit)
    axes.set_ylabel("share of the texts")
    axes.legend(frameon=False, fontsize=9)


def _longer_wins(splits: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Subset -> unit -> accuracy over the pairs of all splits; all pairs first, then the largest."""
    found: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for part in splits.values():
        for subset, figures in part["lengths"].items():
            found[subset].append(figures)
    sizes = {
        name: {"pairs": sum(figures["pairs"] for figures in parts)} for name, parts in found.items()
    }
    return {
        name: {
            unit: sum(part["pairs"] * part[unit]["longer_wins"] for part in found[name])
            / sizes[name]["pairs"]
            for unit in UNITS
        }
        for name in _subsets(sizes, _MAX_BARS + 1)[: _MAX_BARS + 1]
    }


def draw_longer_wins(axes: Axes, wins: Mapping[str, Mapping[str, float]]) -> None:
    """The accuracy of "the longer one wins" by subset, and chance."""
    places = range(len(wins))
    looks: dict[str, dict[str, Any]] = {
        "o": {"color": "#1f5fa8"},
        "s": {"color": "#f2a541", "fillstyle": "none", "markeredgewidth": 2},
    }
    for unit, (marker, look) in zip(UNITS, looks.items(), strict=True):
        values = [figures[unit] for figures in wins.values()]
        axes.plot(values, places, marker, markersize=8, label=f"by {unit}", **look)
    axes.axvline(0.5, color="#222222", linestyle="--", linewidth=1, label="chance")
    axes.set_yticks(places, [_short(name) for name in wins], fontsize=9)
    axes.set_ylim(len(wins) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(axis="both", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel("accuracy of calling the longer one better")
    axes.legend(frameon=False, fontsize=9, loc="best")


def draw_counts(axes: Axes, counts: collections.Counter[str], what: str) -> None:
    """Bars, the longest first; what is beyond the twelfth as one."""
    bars = counts.most_common(_MAX_BARS)
    rest = counts.total() - sum(count for _, count in bars)
    if rest:
        bars.append((f"{len(counts) - _MAX_BARS} others", rest))
    places = range(len(bars))
    axes.barh(places, [count for _, count in bars], height=0.66, color=_COLORS["chosen"])
    axes.set_yticks(places, [_short(name or "unknown") for name, _ in bars], fontsize=9)
    axes.set_ylim(max(len(bars), 4) - 0.5, -0.5)
    for place, (_, count) in enumerate(bars):
        label = f" {count:,} ({count / counts.total():.1%})"
        axes.text(count, place, label, va="center", fontsize=8, color="#444444")
    # Room for the labels beside the bars.
    axes.set_xlim(0, 1.3 * max(count for _, count in bars))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel(what)


def draw_throughput(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Tokens a second (texts, where nobody counted tokens) of each worker, by pass."""
    unit = "tokens" if any(row["tokens"] for row in rows) else "texts"
    by_pass: dict[str, list[float]] = {}
    for row in rows:
        by_pass.setdefault(row["pass"], []).append(row[f"{unit}_per_second"] or 0.0)
    for place, rates in enumerate(by_pass.values()):
        axes.plot(rates, [place] * len(rates), "o", color=_COLORS["chosen"], alpha=0.5)
        label = f"{len(rates)} worker{'s' * (len(rates) > 1)}, {sum(rates):,.0f} {unit}/s in all"
        axes.text(0.01, place - 0.28, label, transform=axes.get_yaxis_transform(), fontsize=8)
    axes.set_yticks(range(len(by_pass)), list(by_pass), fontsize=9)
    axes.set_ylim(len(by_pass) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(max(rates) for rates in by_pass.values()) or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_xlabel(f"{unit} per second")


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= 36 else f"{name[:35]}…"
