"""The report's page: whole, self-contained, safe against what corpora call things."""

import base64
import collections
import html.parser
import re

import numpy as np
from matplotlib.figure import Figure

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.synthesis.reports import report_page
from codepmp_jax.synthesis.reports.report import make_report, sample_of, tally

HOSTILE = ["<script>alert(1)</script>", "$x_$", "日本", "a|b&amp;", "x" * 300]


def make(names=("python", "go"), dropped=None, throughput=(), near=None):
    pairs = [
        PreferencePair(
            str(i),
            "p",
            "x = 1\n" * (i % 9 + 1),
            "y" * (i + 1),
            subset=name,
            lineage={"language": name, "license": name, "chosen": {"finish_reason": name}},
        )
        for i, name in enumerate(name for name in names for _ in range(6))
    ]
    entry = {"tally": tally(pairs), "dropped": dropped or {}}
    empty = {"tally": {}, "dropped": {}}
    return make_report(
        {"train": [entry], "heldout": [empty]}, throughput, near, sample_of(pairs, 3)
    )


class _Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_one_file_with_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "report.html"
    rows = [
        {"pass": "chosen", "worker": worker, "texts": 2, "tokens": 90, "seconds": 3.0}
        for worker in "wv"
    ]
    report = make(
        dropped={"chosen: empty": 3, "identical": 1}, throughput=rows, near={"train": 0.125}
    )
    report_page.write_page(report, path, "Pairs")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    page = _Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [
        "Length in characters",
        "Length in tokens",
        "The longer one wins",
        "Sources without a pair",
        "Languages",
        "Licenses",
        "Throughput of each worker",
    ]
    for image in images:
        head, data = image["src"].split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe"}
    text = " ".join(page.texts)
    for part in ("chosen empty 3 0 75.0%", "pair identical 1 0 25.0%", "train 12.5%", "w 2 90"):
        assert part in re.sub(r"\s+", " ", text), part
    assert "train 16 12 75.0%" in re.sub(r"\s+", " ", text)


def test_samples_come_first_and_do_nothing():
    pair = PreferencePair(
        "0",
        "Add <b>two</b> numbers.",
        "a = 1\n" * 2000,
        "</pre><script>x</script>",
        subset="rate 0.10",
        lineage={
            "path": "src/a.py",
            "chosen": {
                "sampler": "vllm",
                "model": "m",
                "finish_reason": "stop",
                "num_tokens": 1234,
            },
            "rejected": {"sampler": "ngram", "rate": 0.1},
        },
    )
    text = report_page.make_page(make_report({}, samples=sample_of([pair])), "t")
    page = _Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    for part in (
        "rate 0.10 · src/a.py",
        "Add <b>two</b> numbers.",
        "chosen: vllm m, 1,234 tokens, stop",
        "rejected: ngram, rate 0.1",
        "</pre><script>x</script>",
    ):
        assert part in page.texts
    assert any(part.endswith("... and 8,000 more characters") for part in page.texts)
    whole = report_page.make_page(make(), "t")
    assert whole.index("<h2>Samples") < whole.index("<h2>Splits") < whole.index("<img")


def test_samples_are_the_same_of_the_same_pairs():
    pairs = [PreferencePair(f"{i * 7919 % 100:02}", str(i), "a", "b") for i in range(100)]
    samples = sample_of(pairs, 5)
    assert len(samples) == 5
    assert samples == sample_of(reversed(pairs), 5)
    assert samples != sample_of(pairs[50:], 5)


def test_a_single_bar_is_no_chart():
    page = _Page(report_page.make_page(make(["python"], {"identical": 2}), "t"))
    alts = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert alts == ["Length in characters", "Length in tokens"]


def test_subsets_are_sorted_by_name_and_number():
    names = ["rate 0.70", "rate 1.00", "rate 0.10", "rate 10.0", "go"]
    page = report_page.make_page(make(names), "t")
    expected = ["all", "go", "rate 0.10", "rate 0.70", "rate 1.00", "rate 10.0"]
    table = page[page.index("<h2>Length") : page.index("<h2>Origin")]
    places = [table.index(f">{name}<") for name in expected]
    assert places == sorted(places)


def test_names_are_shown_and_do_nothing(tmp_path):
    report_page.write_page(make(HOSTILE), tmp_path / "report.html", HOSTILE[0])
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert set(HOSTILE) <= set(page.texts)


def test_a_report_of_nothing_has_a_page():
    report = make_report({"train": [], "heldout": []})
    page = report_page.make_page(report, "Nothing")
    assert "<img" not in page
    assert "heldout" in page


def test_equal_reports_give_equal_pages():
    assert report_page.make_page(make(), "t") == report_page.make_page(make(), "t")


def test_what_is_beyond_twelve_bars_is_summed_up():
    axes = Figure().subplots()
    counts = collections.Counter({f"n{i:02}": 40 - i for i in range(20)})
    report_page.draw_counts(axes, counts, "pairs")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [*(f"n{i:02}" for i in range(12)), "8 others"]
    widths = [patch.get_width() for patch in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert sum(widths) == counts.total()


def test_long_tables_say_what_they_leave_out():
    names = [f"l{i}" for i in range(130)]
    page = report_page.make_page(make(names), "t")
    assert "and 30 more in report.json" in page
    # The largest come first, and `all` before them.
    assert page.index(">all<") < page.index(">l0<")


def test_splits_are_drawn_together():
    part = make()["train"]
    total = report_page._add_histograms([part["length_histograms"]["tokens"]] * 2)
    assert sum(total["chosen"]) == 2 * part["pairs"] == sum(total["rejected"])
    wins = report_page._longer_wins({"a": part, "b": part})
    expected = part["lengths"]["go"]["characters"]["longer_wins"]
    assert abs(wins["go"]["characters"] - expected) < 1e-9
    assert next(iter(wins)) == "all"


def test_throughput_counts_texts_where_nobody_counts_tokens():
    rows = [
        {"pass": "chosen", "worker": str(i), "texts": 10 * i, "tokens": 0, "seconds": float(i)}
        for i in range(3)
    ]
    axes = Figure().subplots()
    report_page.draw_throughput(axes, make(throughput=rows)["throughput"])
    assert axes.get_xlabel() == "texts per second"
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [0, 10, 10]
    assert axes.texts[0].get_text() == "3 workers, 20 texts/s in all"
