"""Numbers in words."""

import pytest

from codepmp_jax.tasks.judges.numbers import asked_scales, last_number, number_in, numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234", "1234"),
        ("$1,234.50 in all, for 3 people", "2469/2"),
        ("1 234", "1234"),
        (r"1\,234", "1234"),
        ("1{,}234", "1234"),
        (r"1,\!234", "1234"),
        ("1'234", "1234"),
        ("1_234", "1234"),
        ("12,34,567", "1234567"),
        ("1.234", "617/500"),
        ("1.234.567", "1234567"),
        ("1.234,50", "2469/2"),
        ("12,50", "25/2"),
        ("0,125", "1/8"),
        ("-5", "-5"),
        ("- 5", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        (r"-\text{\$}5", "-5"),
        ("negative 5", "-5"),
        (".5", "1/2"),
        ("3/4", "3/4"),
        ("3 1/2", "7/2"),
        ("3½ hours", "7/2"),
        ("5e3", "5000"),
        ("5 million", "5000000"),
        ("$1.5 billion", "1500000000"),
        ("5k", "5000"),
        ("5 km", "5"),
        ("7 dozen", "84"),
        ("18 dollars", "18"),
        (r"\text{18 dollars}", "18"),
        ("72 cm^2", "72"),
        ("10 miles/hour", "10"),
        (r"18\%", "18"),
        (r"90^\circ", "90"),
        ("5:00 PM", "5"),
        ("5 hours and 20 minutes", "16/3"),
        ("5 ft 3 in", "21/4"),
        ("x = 3 + 4 = 7", "7"),
        (r"3 \times 6 = 18", "18"),
        ("For 2 months: 72", "72"),
        ("007", "7"),
        ("2x", "2"),
    ],
)
def test_the_number_of_a_text(text, number):
    assert number_in(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "20 - 5",
        "2^3",
        r"\frac{1}{2}",
        r"\neq 5",
        "< 5",
        "x^2 = 49",
        "12:30",
        "7 or 8",
        "7, 8",
    ],
)
def test_formulas_times_and_several_numbers_are_no_number(text):
    assert number_in(text) is None


def test_a_number_beyond_what_python_converts():
    digits = "7" * 5000
    assert number_in(digits) == digits
    assert number_in(f"-{digits}") == f"-{digits}"


def test_the_numbers_of_a_text():
    text = "- 3 * 6 = 18, 1, 2, 3; 48-24 is -24; at 12:30, 5:00 and p. 5-10, 1 200"
    expected = ["3", "6", "18", "1", "2", "3", "48", "24", "-24", "12:30", "5", "5", "10", "1200"]
    assert list(numbers(text)) == expected
    assert last_number(text) == "1200"
    assert last_number("none") is None


def test_a_scale_that_the_problem_asks_for_is_a_unit():
    asked = asked_scales("How many dozens of eggs will she eat, in millions of pieces?")
    assert asked == {"dozen", "million"}
    assert number_in("7 dozen", asked) == "7"
    assert number_in("7 thousand", asked) == "7000"
    assert asked_scales("How many eggs are in 2 dozen?") == frozenset()
