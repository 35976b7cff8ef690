"""The report of several models as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codepmp_jax.cli import html_page
from codepmp_jax.cli.html_page import paragraph, section, table
from codepmp_jax.evaluation.best_of_n import remarks
from codepmp_jax.evaluation.reports import plots
from codepmp_jax.evaluation.reports.tables import percent, percent_interval, points, points_interval

TITLE = "Models side by side"

# Panel -> its title and how to read it.
_CAPTIONS = {
    "pass_at_k": (
        "pass@k",
        "Share of the problems of which one of k programs is right, unbiased, by all programs that were judged.",
    ),
    "best_of_n": (
        "Best-of-N",
        "Share of the problems whose highest-scored one of N random candidates is correct: at most the "
        "oracle's, the share with a correct one among the N; worth its cost above the majority vote.",
    ),
    "selection": (
        "Selection accuracy",
        "The same as a share of the oracle's: how often a model picks a correct candidate where there "
        "is one.",
    ),
    "all": (
        "Accuracy",
        "Share of the pairs whose chosen text scores higher: better than chance right of the dashed "
        "line, better than calling the longer text better right of the yellow mark.",
    ),
    "subset": (
        "Accuracy by subset",
        "Share of the pairs whose chosen text scores higher: better than chance right of the dashed "
        "line, better than calling the longer text better right of the yellow mark.",
    ),
    "length_difference": (
        "Accuracy by length of chosen",
        "The same by how much longer chosen is, as each model counts: one that follows length is good "
        "where chosen is longer and bad where it is shorter.",
    ),
    "margin": (
        "Accuracy by margin",
        "The same by the margin that the pairs came with: where chosen is said to be much better, "
        "accuracy should be higher.",
    ),
    "reward_gap": (
        "Accuracy by reward gap",
        "The same by how far apart the two rewards are: accuracy should grow with the gap.",
    ),
    "reliability": (
        "Calibration",
        "How often the higher-scored text is the better one, against sigmoid(reward gap): on the dashed "
        "line the two agree, below it a model is too sure of itself.",
    ),
}


def panels_of(kind: str, reports: plots.Reports) -> dict[str, plots.Panel]:
    """The panels of reports of one kind."""
    return {
        "accuracy": plots.accuracy_panels,
        "best_of_n": plots.best_of_n_panels,
        "pass_at_k": plots.pass_at_k_panels,
    }[kind](reports)


def make_page(report: Mapping[str, Any]) -> str:
    """The HTML of a report (`codepmp_jax.evaluation.reports.report.make_report`)."""
    sections = []
    for group in report["groups"]:
        kind, intro, tables = {
            "accuracy": ("pairwise accuracy", _accuracy_intro, _accuracy_tables),
            "best_of_n": ("Best-of-N", _best_of_n_intro, _best_of_n_tables),
            "pass_at_k": ("pass@k", _pass_at_k_intro, _pass_at_k_table),
        }[group["kind"]]
        reports = group["models"]
        parts = [
            intro(reports),
            html_page.plots(
                html_page.image(_CAPTIONS[name][0], plots.make_figure([panel]), _CAPTIONS[name][1])
                for name, panel in panels_of(group["kind"], reports).items()
            ),
            tables(reports),
            _differences(group["differences"]),
        ]
        sections.append(section(f"{group['benchmark']}: {kind}", "\n".join(parts)))
    return html_page.page(TITLE, sections)


def _accuracy_intro(reports: plots.Reports) -> str:
    first = next(iter(reports.values()))
    lengths = sorted({report["length_unit"] for report in reports.values()})
    return paragraph(
        f"{first['num_pairs']:,} pairs. A tie counts half. Intervals are 95 % bootstrap intervals over "
        f"pairs. Lengths are in {' and '.join(lengths)}."
    )


def _best_of_n_intro(reports: plots.Reports) -> str:
    first = next(iter(reports.values()))
    text = (
        f"{first['num_problems']:,} problems; N candidates drawn at random, averaged over all draws. "
        "Intervals are 95 % bootstrap intervals over problems."
    )
    lines = [text, *remarks(first)]
    for name, report in reports.items():
        lines += [f"{name}: {line}" for line in remarks(report) if line not in lines]
    return paragraph(" ".join(lines))


def _pass_at_k_intro(reports: plots.Reports) -> str:
    first = next(iter(reports.values()))
    return paragraph(
        f"{first['num_problems']:,} problems. Intervals are 95 % bootstrap intervals over problems."
    )


def _pass_at_k_table(reports: plots.Reports) -> str:
    rows = [
        (name, row["n"], percent(row["pass_at_k"]), percent_interval(row["pass_at_k_interval"]))
        for name, report in reports.items()
        for row in report["rows"]
    ]
    return table(("policy", "k", "pass@k", "95 % interval"), rows)


def _accuracy_tables(reports: plots.Reports) -> str:
    figures, calibration = [], []
    for name, report in reports.items():
        for subset, row in [("all", report), *report.get("subsets", {}).items()]:
            interval = percent_interval(row["accuracy_interval"])
            cells = (row["num_pairs"], percent(row["accuracy"]), interval, row["num_ties"])
            figures.append((name, subset, *cells, percent(row["length_baseline"])))
        found = report["calibration"]
        best = found["at_best_temperature"] or {}
        calibration.append(
            (
                name,
                *_losses(found),
                "none" if not best else f"{found['best_temperature']:.3g}",
                *(_losses(best) if best else ("", "", "")),
            )
        )
    losses = ("log loss", "Brier score", "calibration error")
    header = ("model", *losses, "best temperature", *(f"{name} at it" for name in losses))
    return html_page.tables(
        table(
            ("model", "subset", "pairs", "accuracy", "95 % interval", "ties", "longer wins"),
            figures,
            num_text=2,
        ),
        table(header, calibration),
    )


def _losses(found: Mapping[str, float]) -> tuple[str, str, str]:
    error = percent(found["expected_calibration_error"])
    return f"{found['log_loss']:.3f}", f"{found['brier_score']:.3f}", error


def _best_of_n_tables(reports: plots.Reports) -> str:
    """The figures of each model at each N, and in each subset at the greatest N."""
    names = ("random", "oracle", "majority_vote", "weighted_vote", "first_n")
    by_n, by_subset = [], []
    for model, report in reports.items():
        for row in report["rows"]:
            cells = (percent(row["best_of_n"]), percent_interval(row["best_of_n_interval"]))
            others = (percent(row[name]) for name in (*names, "selection_accuracy"))
            by_n.append((model, row["n"], *cells, *others))
        for subset, part in report.get("subsets", {}).items():
            last = part["rows"][-1]
            cells = (percent(last["best_of_n"]), percent_interval(last["best_of_n_interval"]))
            others = (percent(last["random"]), percent(last["oracle"]))
            by_subset.append((model, subset, part["num_problems"], last["n"], *cells, *others))
    header = (
        "model",
        "N",
        "best of N",
        "95 % interval",
        *(name.replace("_", " ") for name in names),
    )
    return html_page.tables(
        table((*header, "selection accuracy"), by_n),
        table(
            ("model", "subset", "problems", *header[1:4], "random", "oracle"), by_subset, num_text=2
        ),
    )


def _differences(differences: Sequence[Mapping[str, Any]]) -> str:
    """Differences over all items, and for accuracy in each subset."""
    rows = [
        (
            row["model"],
            row["subset"],
            row["figure"].replace("_", " "),
            row["n"],
            points(row["difference"]),
            points_interval(row["low"], row["high"]),
            f"{row['p_value']:.3f}",
        )
        for row in differences
        if row["subset"] == "all" or row["kind"] == "accuracy"
    ]
    if not rows:
        return ""
    first = differences[0]["first_model"]
    size = "k" if differences[0]["kind"] == "pass_at_k" else "N"
    header = ("model", "subset", "figure", size, f"points above {first}", "95 % interval", "p")
    note = (
        "Differences are of the same pairs or problems; p is that of the sign-flip test, not corrected for "
        "the number of comparisons."
    )
    return table(header, rows, num_text=3) + paragraph(note)
