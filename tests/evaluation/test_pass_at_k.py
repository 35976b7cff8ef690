"""pass@k by hand, paired differences, and what is refused."""

import csv
import json
import shutil

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import PassAtKConfig, ReportConfig
from codepmp_jax.evaluation import pass_at_k
from codepmp_jax.evaluation.reports import report
from codepmp_jax.records.schema import Candidate, Problem


def write(path, judgements):
    """A file of problems whose candidates have these judgements."""
    problems = [
        Problem(name, "write f", tuple(Candidate(f"c{i}", right) for i, right in enumerate(some)))
        for name, some in judgements.items()
    ]
    path.write_text("".join(f"{problem.to_json()}\n" for problem in problems))
    return str(path)


@pytest.fixture
def files(tmp_path):
    before = {"a": [True, False, False, False], "b": [False] * 4, "c": [True] * 4}
    after = {"c": [True] * 4, "a": [True, True, False, False], "b": [True, False, False, False]}
    return write(tmp_path / "before.jsonl", before), write(tmp_path / "after.jsonl", after)


def test_rates_intervals_and_differences(files, tmp_path, capsys):
    config = PassAtKConfig(policies=files, k=(1, 2), output=str(tmp_path / "out"))
    pass_at_k.run(config)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    before, after = (policy["rows"] for policy in report["policies"])
    assert [row["pass"] for row in before] == pytest.approx([(0.25 + 0 + 1) / 3, (0.5 + 0 + 1) / 3])
    # Of two of four with two right ones: 1 - C(2,2)/C(4,2).
    assert [row["pass"] for row in after] == pytest.approx(
        [(0.5 + 0.25 + 1) / 3, (5 / 6 + 0.5 + 1) / 3]
    )
    assert "difference" not in before[0]
    assert after[0]["difference"] == pytest.approx(0.5 / 3)
    low, high = after[0]["difference_interval"]
    assert 0 <= low <= after[0]["difference"] <= high <= 0.25
    assert 0 < after[0]["p_value"] <= 1
    with open(tmp_path / "out" / "problems.csv") as file:
        assert len(list(csv.DictReader(file))) == 2 * 3 * 2
    assert "3 problems" in capsys.readouterr().out


def test_policies_of_several_folders_stand_side_by_side(files, tmp_path):
    """As one folder of all of them says: the paired differences, and a page with the plot."""
    folders = []
    for name, policies in (("all", files), ("before", files[:1]), ("after", files[1:])):
        folders.append(str(tmp_path / name))
        pass_at_k.run(PassAtKConfig(policies=policies, k=(1, 2), output=folders[-1]))
    whole, *apart = (
        report.run(ReportConfig(inputs=inputs, names=("old", "new"), output=str(tmp_path / str(i))))
        or json.loads((tmp_path / str(i) / "report.json").read_text())["groups"]
        for i, inputs in enumerate([tuple(folders[:1]), tuple(folders[1:])])
    )
    (group,), ((other,),) = whole, apart
    assert group["differences"] == other["differences"]
    rows = json.loads((tmp_path / "all" / "report.json").read_text())["policies"][1]["rows"]
    for difference, row in zip(group["differences"], rows, strict=True):
        assert (difference["model"], difference["first_model"]) == ("new", "old")
        assert (difference["figure"], difference["n"]) == ("pass@k", row["k"])
        assert difference["difference"] == pytest.approx(row["difference"])
        assert [difference["low"], difference["high"]] == pytest.approx(row["difference_interval"])
    page = (tmp_path / "1" / "report.html").read_text()
    assert "pass@k" in page
    assert {path.name for path in (tmp_path / "all").iterdir()} >= {"pass_at_k.png"}


def test_folders_with_other_k_or_too_few_names_are_refused(files, tmp_path):
    for k, policy in enumerate(files, 1):
        pass_at_k.run(PassAtKConfig(policies=(policy,), k=(k,), output=str(tmp_path / str(k))))
    both = tuple(str(tmp_path / str(k)) for k in (1, 2))
    with pytest.raises(UserError, match=r"k = \[\[1\], \[2\]\]: must be the same numbers"):
        report.run(ReportConfig(inputs=both, output=str(tmp_path / "out")))
    with pytest.raises(UserError, match=r"names = .*as many as the models and policies"):
        report.run(ReportConfig(inputs=both, names=("a",), output=str(tmp_path / "out")))


def test_the_same_policy_twice_differs_by_nothing(files, tmp_path):
    copy = shutil.copy(files[0], tmp_path / "copy.jsonl")
    problems = {path: pass_at_k.read_candidates(path) for path in (files[0], str(copy))}
    report, _ = pass_at_k.compare(problems, PassAtKConfig(k=(1,)))
    (row,) = report["policies"][1]["rows"]
    assert row["difference"] == 0
    assert row["difference_interval"] == [0, 0]
    assert row["p_value"] == 1


@pytest.mark.parametrize(
    ("judgements", "k", "said"),
    [
        ({"a": [True, None]}, (1,), "has candidates that nobody judged"),
        ({"a": [True, False]}, (3,), "has 2 candidates, fewer than k = 3"),
        ({"other": [True, False]}, (1,), "is in one of"),
    ],
)
def test_what_has_no_rate_is_refused(judgements, k, said, tmp_path):
    first = write(tmp_path / "first.jsonl", {"a": [True] * 4})
    second = write(tmp_path / "second.jsonl", judgements)
    config = PassAtKConfig(policies=(first, second), k=k, output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=said):
        pass_at_k.run(config)
    assert not (tmp_path / "out").exists()


def test_no_files_are_refused():
    with pytest.raises(UserError, match="must be files of judged candidates"):
        pass_at_k.run(PassAtKConfig())
