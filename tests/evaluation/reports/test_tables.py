import pytest

from codepmp_jax.evaluation.reports import tables
from codepmp_jax.evaluation.reports.tables import format_table


def test_columns_are_aligned_first_left_others_right():
    table = format_table(("name", "n"), [("a", "10"), ("longer", "5")])
    assert table.splitlines() == [
        "name     n",
        "------  --",
        "a       10",
        "longer   5",
    ]


def test_a_table_may_have_no_rows():
    assert format_table(("name", "n"), []).splitlines() == ["name  n", "----  -"]


def test_csv_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "table.csv"
    tables.write_csv(path, ("name", "value"), [("a, b", 0.1 + 0.2), ('"x"\ny', None)])
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]
    found = tables.read_csv(path)
    assert found == {"name": ["a, b", '"x"\ny'], "value": [str(0.1 + 0.2), ""]}
    assert float(found["value"][0]) == 0.1 + 0.2


def test_a_cut_off_csv_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    tables.write_csv(path, ("n",), [(1,)])

    def rows():
        yield (2,)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        tables.write_csv(path, ("n",), rows())
    assert tables.read_csv(path) == {"n": ["1"]}


def test_an_empty_file_is_a_table_without_columns(tmp_path):
    (tmp_path / "table.csv").write_text("")
    assert tables.read_csv(tmp_path / "table.csv") == {}


def test_shares_and_differences_as_text():
    assert (tables.percent(0.1234), tables.percent(None)) == ("12.3%", "-")
    assert tables.percent_interval([0.1, 0.2]) == "10.0% - 20.0%"
    assert tables.percent_interval(None) == "-"
    assert tables.points(-0.0123) == "-1.2"
    assert tables.points_interval(0.01, 0.02) == "+1.0 to +2.0"
