"""The tally of a shard and the report: lengths, languages, licenses, rejects, throughput."""

import json
from typing import Any

import pytest

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.synthesis.reports.report import make_report, near_duplicate_rates, tally


def pair(
    chosen: str, rejected: str, subset: str = "", lineage: dict[str, Any] | None = None
) -> PreferencePair:
    return PreferencePair("id", "p", chosen, rejected, subset=subset, lineage=lineage or {})


def report_of(*shards: list[PreferencePair], dropped=()) -> dict[str, Any]:
    """The part of the train split, of tallies that have been JSON."""
    entries = [{"tally": json.loads(json.dumps(tally(pairs))), "dropped": {}} for pairs in shards]
    entries += [{"tally": {}, "dropped": counts} for counts in dropped]
    return make_report({"train": entries})["train"]


def test_longer_wins_with_ties_as_halves():
    pairs = [
        pair("abcd", "ab", "rate 0.10"),
        pair("ab", "abcd", "rate 0.10"),
        pair("ab", "cd", "rate 1.00"),
        pair("abc", "ab"),
    ]
    report = report_of(pairs[:1], pairs[1:])
    assert report["pairs"] == 4
    lengths = report["lengths"]
    assert lengths["all"]["pairs"] == 4
    assert lengths["all"]["characters"] == {
        "longer_wins": 2.5 / 4,
        "ties": 0.25,
        "mean_chosen": 11 / 4,
        "mean_rejected": 10 / 4,
    }
    assert lengths["rate 0.10"]["characters"]["longer_wins"] == 0.5
    assert lengths["rate 1.00"]["characters"]["ties"] == 1.0
    assert set(lengths) == {"all", "rate 0.10", "rate 1.00"}


def test_tokens_are_counted_by_the_embedded_tokenizer():
    lengths = report_of([pair("return self", "12345678901")])["lengths"]
    assert lengths["all"]["characters"]["ties"] == 1.0
    assert lengths["all"]["tokens"]["mean_rejected"] == 11
    assert lengths["all"]["tokens"]["mean_chosen"] == pytest.approx(2, abs=1)
    assert lengths["all"]["tokens"]["longer_wins"] == 0.0


def test_histograms_hold_every_text_in_its_bin():
    lengths = [(1, 1), (3, 7), (64, 63), (100, 5), (1000, 1024)]
    pairs = [pair("x" * chosen, "y" * rejected) for chosen, rejected in lengths]
    histogram = report_of(pairs[:2], pairs[2:])["length_histograms"]["characters"]
    edges = histogram["edges"]
    assert edges == sorted(edges)
    assert len(edges) == len(histogram["chosen"]) + 1 == len(histogram["rejected"]) + 1
    for side, values in zip(("chosen", "rejected"), zip(*lengths, strict=True), strict=True):
        for low, high, count in zip(edges, edges[1:], histogram[side], strict=False):
            assert count == sum(low <= value < high for value in values)
        assert sum(histogram[side]) == len(pairs)
    assert histogram["chosen"][0] == 1
    assert histogram["rejected"][-1] == 1


def test_facts_of_the_lineage_are_counted_the_most_frequent_first():
    stopped, cut = {"finish_reason": "stop", "num_tokens": 3}, {"finish_reason": "length"}
    lineages = [
        {
            "language": "c",
            "license": "MIT|X11",
            "describe": stopped,
            "chosen": cut,
            "rejected": cut,
        },
        {"language": "python", "license": "", "describe": stopped, "chosen": stopped},
        {"language": "python", "chosen": {"model": "m"}},
        {"file": "rows.jsonl", "row": 3, "chosen": "text"},
    ]
    pairs = [pair("a", "b", lineage=lineage) for lineage in lineages]
    report = report_of(pairs[:3], pairs[3:])
    assert list(report["languages"].items()) == [("python", 2), ("c", 1)]
    assert report["licenses"] == {"MIT|X11": 1, "": 1}
    assert report["finish_reasons"] == {
        "describe": {"stop": 2},
        "chosen": {"length": 1, "stop": 1},
        "rejected": {"length": 1},
    }


def test_subsets_may_be_called_anything():
    names = ["a|b", "|", "pairs|all", "longer", "日"]
    lengths = report_of([pair("aa", "b", name) for name in names])["lengths"]
    assert set(lengths) == {"all", *names}
    assert all(lengths[name]["pairs"] == 1 for name in names)
    assert all(lengths[name]["characters"]["longer_wins"] == 1 for name in names)


def test_a_tally_of_all_is_the_sum_of_tallies():
    pairs = [
        pair("x" * i, "y" * (i % 7 + 1), f"s{i % 3}", {"language": "python"}) for i in range(1, 40)
    ]
    assert report_of(pairs) == report_of(*([pair] for pair in pairs))


def test_drops_are_summed_up_and_sorted():
    dropped = [{"identical": 1, "chosen: empty": 2}, {"chosen: empty": 1}]
    assert report_of(dropped=dropped)["dropped"] == {"chosen: empty": 3, "identical": 1}


def test_no_pairs_no_lengths():
    report = make_report({"train": [], "heldout": [{"tally": {}, "dropped": {}}]})
    for split in ("train", "heldout"):
        assert report[split]["pairs"] == 0
        assert report[split]["lengths"] == {}
        assert report[split]["length_histograms"]["tokens"] == {
            "edges": [1.0],
            "chosen": [],
            "rejected": [],
        }
    assert report["throughput"] == []


def test_throughput_is_summed_up_by_pass_and_worker():
    def row(name, worker, texts, tokens, seconds):
        return {
            "pass": name,
            "worker": worker,
            "texts": texts,
            "tokens": tokens,
            "seconds": seconds,
        }

    rows = [
        row("rejected", "b", 1, 10, 1.0),
        row("describe", "b", 4, 400, 1.5),
        row("describe", "a", 1, 100, 1.0),
        row("describe", "b", 4, 400, 0.5),
        row("chosen", "a", 5, 0, 0.0),
    ]
    report = make_report({}, rows, {"train chosen": 0.25})
    assert [(row["pass"], row["worker"]) for row in report["throughput"]] == [
        ("describe", "a"),
        ("describe", "b"),
        ("chosen", "a"),
        ("rejected", "b"),
    ]
    assert report["throughput"][1] == {
        "pass": "describe",
        "worker": "b",
        "texts": 8,
        "tokens": 800,
        "seconds": 2.0,
        "texts_per_second": 4.0,
        "tokens_per_second": 400.0,
    }
    assert report["throughput"][2]["texts_per_second"] is None
    assert report["near_duplicate_rates"] == {"train chosen": 0.25}
    assert json.loads(json.dumps(report)) == report


def test_near_duplicate_rates_tell_pairs_before_from_the_pair_itself():
    one, other, third = (
        " ".join(f"{word}{i}" for i in range(60)) for word in ("alpha", "beta", "gamma")
    )
    pairs = [
        pair(one, other),
        pair(one + " end", third),
        pair(third, third + " end"),
        pair("short", other + " end"),
    ]
    assert near_duplicate_rates(pairs) == {
        "chosen": 0.25,
        "rejected": 0.5,
        "chosen and rejected": 0.25,
    }
