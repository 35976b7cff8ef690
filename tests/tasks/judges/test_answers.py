"""Final answers in mathematics: which part of a response, and when two are equal."""

import pytest

from codepmp_jax.tasks.judges.answers import NOT_PARSED, AnswerJudge, answer_text, last_box


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed{\{1, \{2\}\}}$", r"\{1, \{2\}\}"),
        (r"\boxed{\left\{x : x > 0\right\}}", r"\left\{x : x > 0\right\}"),
        (r"\boxed{\text{a {nested} one}}", r"\text{a {nested} one}"),
        (r"\fbox{3} ", "3"),
        (r"\boxed 5", "5"),
        (r"\boxed{7} and \boxed{8", "7"),
        (r"\boxed{7} and \boxed{}", "7"),
        (r"\boxed{\boxed{9}}", "9"),
        (r"\boxedx", None),
        (r"no box", None),
        (r"\boxed", None),
    ],
)
def test_the_last_closed_box(text, box):
    assert last_box(text) == box


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"He has \boxed{18} of 20.", "18"),
        ("48/2 = 24\n#### 72", "72"),
        ("#### 1,234", "1,234"),
        ("#### $1,234.50 in all, for 3 people", "1,234.50"),
        ("#### -5\nBye 7", "-5"),
        ("He pays 3 * 6 = 18 dollars.", "18"),
        ("The answer is 18.", "18"),
        ("It is 1,234,567 miles.", "1,234,567"),
        ("1, 2, 3", "3"),
        (r"\boxed{18 \text{ dollars}}", "18"),
        (r"\boxed{18 dollars}", "18"),
        (r"\boxed{\$18}", "18"),
        (r"\boxed{25\%}", "25"),
        (r"\boxed{x = 3 + 4 = 7}", "7"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3 \times 6 = 18}", "18"),
        (r"\boxed{2^3}", "2^3"),
        (r"\boxed{3 + 4}", "3 + 4"),
        ("it grew by 25%", "25"),
        ("3/4 of it", "3/4"),
        (".5 of it", ".5"),
        ("**72**", "72"),
        ("none at all", None),
        ("", None),
    ],
)
def test_the_number_of_a_response(response, answer):
    assert answer_text(response, numbers_only=True) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"$x$ is \boxed{x+1} for $x > 2$", "x+1"),
        (r"so $y = 2$ and the answer is $\frac{3}{4}$. I hope it is correct.", r"\frac{3}{4}"),
        (r"thus \(a\) and \[ b^2 \]", "b^2"),
        ("so 12 apples", "12"),
        ("#### x^2", "x^2"),
        ("nothing", None),
    ],
)
def test_the_formula_of_a_response(response, answer):
    assert answer_text(response) == answer


def judge(expected: str, response: str, numbers_only: bool = False):
    return AnswerJudge(numbers_only).judge("", {"answer": expected}, response, 1.0)


def judged(expected: str, text: str):
    return judge(expected, f"\\boxed{{{text}}}")


EQUAL = [
    ("42", "42."),
    ("42", "42.0"),
    ("1234", "1,234"),
    ("1234", "1{,}234"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac12", "1/2"),
    (r"\frac{7}{2}", r"3\frac{1}{2}"),
    ("-3", r"- 3"),
    ("90", r"90^\circ"),
    ("6", r"6 \text{ cm}^2"),
    (r"\text{Monday}", "Monday"),
    (r"x^2+2x+1", "(x+1)^2"),
    (r"2\sqrt{2}", r"\sqrt{8}"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("5", "x=5"),
    ("50", r"50\%"),
    (r"(1,2)", r"\left( 1, 2 \right)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
]


@pytest.mark.parametrize(("expected", "text"), EQUAL)
def test_equal_answers_are_correct_and_equal_strings(expected, text):
    one, other = judged(expected, expected), judged(expected, text)
    assert one.is_correct
    assert other.is_correct
    assert one.answer == other.answer
    # As wrong answers they are equal to one another too, or nearly all of them are.
    wrong, also_wrong = judged("77", expected), judged("77", text)
    assert wrong.verdict == also_wrong.verdict == "wrong answer"
    if expected != "50":  # 50 and 50 % are equal for 50, but not without it
        assert wrong.answer == also_wrong.answer


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("42", "43"),
        ("42", "-42"),
        ("(1,2)", "(2,1)"),
        ("[1,2)", "[1,2]"),
        (r"\frac{1}{3}", "0.33"),
        ("x^2", "x^3"),
        (r"\text{Monday}", r"\text{Tuesday}"),
        ("listen", "silent"),
        (r"\{1,2\}", r"\{1,2,3\}"),
    ],
)
def test_other_answers_are_wrong(expected, text):
    assert judged(expected, text).verdict == "wrong answer"
    assert judged(expected, text).answer != judged(expected, expected).answer


def test_a_response_without_an_answer():
    assert judge("3", "I do not know.", numbers_only=True) == (False, None, "no answer")
    found = judged("3", r"\frac{")
    assert (found.is_correct, found.verdict) == (False, "no answer")
    found = judge("3", r"\boxed{\heartsuit \& ?}")
    assert (found.is_correct, found.verdict) in {(False, NOT_PARSED), (False, "wrong answer")}


def test_judging_numbers():
    for response in ("#### 1,234", "It is $1,234.", r"\boxed{1234.00 \text{ dollars}}"):
        assert judge("1234", response, numbers_only=True) == (True, "1234", "correct")
    assert judge("1234", "#### 1,235", numbers_only=True) == (False, "1235", "wrong answer")
