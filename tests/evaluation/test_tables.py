from codepmp_jax.evaluation.tables import format_table


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
