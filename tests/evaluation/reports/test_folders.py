import json

import pytest
from matplotlib.figure import Figure

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.reports import folders
from codepmp_jax.evaluation.reports.tables import write_csv

REPORT = {"kind": "accuracy", "model": "m"}
TABLES = {"pairs.csv": (("pair_id", "win"), [("a", 1.0), ("b", 0.5)])}


def test_what_is_written_is_read(tmp_path):
    folders.write_folder(tmp_path / "out", REPORT, TABLES, {"plot.png": Figure()}, "<html>")
    names = {"report.json", "report.html", "pairs.csv", "plot.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    found = folders.read_folder(tmp_path / "out")
    assert found.report == REPORT
    assert found.values == {"pair_id": ["a", "b"], "win": ["1.0", "0.5"]}


def test_a_folder_that_was_left_half_written_is_none(tmp_path):
    folders.write_folder(tmp_path, REPORT, TABLES, {})

    def rows():
        yield ("a", 0.0)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        folders.write_folder(tmp_path, REPORT, {"pairs.csv": (("pair_id", "win"), rows())}, {})
    with pytest.raises(UserError, match=r"report\.json: no such file"):
        folders.read_folder(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "groups"}'])
def test_reports_of_something_else_are_refused(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match=r"report\.json: no report of an evaluation"):
        folders.read_folder(tmp_path)


def test_a_report_without_its_values_is_refused(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    with pytest.raises(UserError, match=r"pairs\.csv: no such file"):
        folders.read_folder(tmp_path)
    write_csv(tmp_path / "pairs.csv", ("a", "b"), [("1", "2"), ("1",)])
    with pytest.raises(UserError, match=r"pairs\.csv: row 2 has 1 cells, the header 2"):
        folders.read_folder(tmp_path)


def test_a_model_is_named_by_its_scores_or_by_the_folder(tmp_path):
    scores = tmp_path / "scores.jsonl"
    assert folders.model_of(scores, tmp_path / "mine") == "mine"
    (tmp_path / "scores.meta.json").write_text('{"model": "hf/theirs"}')
    assert folders.model_of(scores, tmp_path / "mine") == "hf/theirs"


def test_a_benchmark_is_named_by_its_file_or_folder(tmp_path):
    assert folders.benchmark_of(tmp_path / "pairs") == "pairs"
    assert folders.benchmark_of(str(tmp_path / "gsm8k.jsonl")) == "gsm8k"
