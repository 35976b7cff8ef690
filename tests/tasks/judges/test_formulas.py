"""When formulas are equal."""

import itertools

import pytest

from codepmp_jax.tasks.judges.formulas import equal, is_readable, normal_form
from codepmp_jax.tasks.judges.notation import clean, elements

# A reference, and answers that are equal to it.
EQUAL = [
    ("42", "42.", "42.0", "x = 42", r"\text{The answer is } 42"),
    ("1234", "1,234", "1{,}234", r"1\,234", "1 234"),
    (r"\frac{1}{2}", "0.5", r"\dfrac12", "1/2", "½", r"\frac{2}{4}", "2^{-1}"),
    (r"\frac{7}{2}", r"3\frac{1}{2}", "3 1/2", "3.5"),
    ("-3", "- 3", "−3", "{-}3"),
    ("90", r"90^\circ", "90 degrees"),
    ("6", r"6 \text{ cm}^2", "6 cm^2", "6 dollars", r"\$6"),
    (r"\text{Monday}", "Monday", r"\textbf{monday}"),
    ("x^2+2x+1", "(x+1)^2", "x**2 + 2*x + 1"),
    (r"2\sqrt{2}", r"\sqrt{8}", "2√2", "2*sqrt(2)", "2.828427"),
    (r"\frac{1}{3}", "0.333333", r"0.\overline{3}"),
    (r"\{1,2\}", r"\{2,1\}", "1, 2", "2 and 1"),
    ("50", r"50\%"),
    ("(1,2)", r"\left( 1, 2 \right)", "x = 1, y = 2"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)^T"),
    (r"(-\infty,3)", "x < 3", r"x \in (-\infty, 3)", r"\{x : x < 3\}"),
    ("[-2,5)", r"-2 \le x < 5", r"5 > x \ge -2"),
    (r"(-\infty,-1) \cup (2,\infty)", "x < -1 or x > 2", r"(2,\infty) \cup (-\infty,-1)"),
    (r"(-\infty,\infty)", "all real numbers", r"\mathbb{R}"),
    ("i", r"\sqrt{-1}"),
    ("1+i", r"\sqrt{2} e^{i \pi/4}", "i + 1"),
    ("2+e", r"2 + \mathrm{e}", "2 + exp(1)"),
    ("y = 2x - 3", "2x - y = 3", "y = -3 + 2x"),
    ("312_5", r"312_{\text{five}}", "312"),
    (r"1 \pm \sqrt{2}", r"1 + \sqrt{2}, 1 - \sqrt{2}"),
    (r"\text{A, C}", "A,C"),
]


@pytest.mark.parametrize(
    ("reference", "text"), [(r, t) for r, *texts in EQUAL for t in (r, *texts)]
)
def test_equal_answers(reference, text):
    assert is_readable(clean(text))
    assert equal(clean(reference), clean(text))


@pytest.mark.parametrize(
    ("reference", "text"), [(r, t) for r, *texts in EQUAL[:9] for t in texts if r != "50"]
)
def test_equal_answers_have_one_normal_form(reference, text):
    assert normal_form(clean(reference)) == normal_form(clean(text))


def test_different_answers_are_not_equal():
    """Every reference of the table against every other one."""
    references = [clean(reference) for reference, *_ in EQUAL]
    pairs = itertools.permutations(references, 2)
    assert [(one, other) for one, other in pairs if equal(one, other)] == []


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("42", "-42"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", r"\{1,2\}"),
        (r"\{3,4\}", "(4,3)"),
        ("[1,2)", "[1,2]"),
        ("[1,2)", "(1,2)"),
        (r"\frac{1}{3}", "0.33"),
        ("0.5", "0.5000001"),
        ("0.5", "0.50000001"),
        (r"\frac{1}{3^{70}}", r"\frac{1}{3^{71}}"),
        (r"10^{-30}", "0"),
        ("x^2", "x^3"),
        ("listen", "silent"),
        (r"\{1,2\}", r"\{1,2,3\}"),
        ("5", r"\neq 5"),
        ("5", "< 5"),
        ("5", "x > 5"),
        ("5", "x^2 = 5"),
        ("5", "2x = 5"),
        ("5", "|x| = 5"),
        ("5", "x + y = 5"),
        ("5", "xy = 5"),
        ("5", "5x"),
        ("5", "5a"),
        ("5", r"5 \text{ ft } 3 \text{ in}"),
        ("5", r"5 \text{ hours and } 20 \text{ minutes}"),
        ("5", r"5 \text{ million}"),
        ("5", r"5\text{ dozen}"),
        ("5", "x = 3, y = 5"),
        ("5", r"\infty"),
        ("2", r"3\ 1/2"),
        ("6 cm", "6 m"),
        ("312_5", "312_7"),
        ("x = 5", "y = 5"),
        ("x=1, y=2", "x=2, y=1"),
        ("x < 3", r"x \le 3"),
        ("x < 3", "x > 3"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
        (r"\begin{pmatrix}0.5\\2\end{pmatrix}", r"\begin{pmatrix}0.5000001\\2\end{pmatrix}"),
    ],
)
def test_other_answers(reference, text):
    assert not equal(clean(reference), clean(text))


def test_the_parts_of_a_list():
    assert elements(clean(r"1, (2, 3), \{4, 5\} \text{ and } \frac{1}{2}")) == [
        "1",
        "(2, 3)",
        r"\{4, 5\}",
        r"\frac{1}{2}",
    ]
    assert elements("1,234") == ["1234"]
    assert elements(r"2 \pm x") == ["2 + x", "2 - x"]
