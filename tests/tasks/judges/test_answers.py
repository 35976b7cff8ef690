"""Final answers in mathematics: which part of a response it is, and when it is correct."""

import pytest

from codepmp_jax.tasks.judges.answers import (
    NOT_PARSED,
    AnswerJudge,
    find_answer,
    reference_text,
)


def part(response: str, numbers_only: bool = False) -> str | None:
    found = find_answer(response, numbers_only)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"He has \boxed{18} of 20.", "18"),
        ("48/2 = 24\n#### 72", "72"),
        ("#### -5\nBye 7", "-5"),
        ("#### Step 2: May\nHe sold 72.", "72"),
        ("#### 1. Eggs\n16 eggs.", "16"),
        ("He pays 3 * 6 = 18 dollars.", "18"),
        ("The answer is 18. It took 3 days.", "18"),
        ("He earns **$18** in 3 days.", "$18"),
        ("1, 2, 3", "3"),
        (r"\boxed{2^3}", "2^3"),
        ("3/4 of it", "3/4"),
        ("none at all", None),
        ("", None),
        ("<think>18</think>", None),
    ],
)
def test_the_number_of_a_response(response, answer):
    assert part(response, numbers_only=True) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"$x$ is \boxed{x+1} for $x > 2$", "x+1"),
        (r"so $y = 2$ and the answer is $\frac{3}{4}$. I hope it is correct.", r"\frac{3}{4}"),
        (r"thus \(a\) and \[ b^2 \]", "b^2"),
        ("so 12 apples", "12"),
        ("it costs $36 and $12 more, so $x$", "x"),
        ("the answers are $1$ and $2$", "1, 2"),
        ("#### x^2", "x^2"),
        ("We get x + 1", "x + 1"),
        ("nothing comes to mind here", None),
        (r"\boxed{\frac{", None),
    ],
)
def test_the_formula_of_a_response(response, answer):
    assert part(response) == answer


def judge(expected, response: str, numbers_only: bool = False, prompt: str = ""):
    return AnswerJudge(numbers_only).judge(prompt, {"answer": expected}, response, 1.0)


def test_a_response_without_an_answer():
    assert judge("3", "I do not know.", numbers_only=True) == (False, None, "no answer")
    assert judge("3", r"\boxed{\frac{") == (False, None, "no answer")
    assert judge("3", r"\boxed{\heartsuit \& ?}").verdict in {NOT_PARSED, "wrong answer"}


def test_judging_numbers():
    for response in ("#### 1,234", "It is $1,234.", r"\boxed{1234.00 \text{ dollars}}"):
        assert judge("1234", response, numbers_only=True) == (True, "1234", "correct")
    assert judge("1234", "#### 1,235", numbers_only=True) == (False, "1235", "wrong answer")


def test_judging_numbers_by_what_the_problem_asks():
    asked = "How many dozens of eggs?"
    assert judge("7", "#### 7 dozen", numbers_only=True, prompt=asked).is_correct
    assert not judge("7", "#### 7 dozen", numbers_only=True, prompt="How many eggs?").is_correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [(18, "18"), (2.5, "2.5"), (["18"], "18"), ([1, "2"], "1, 2"), (r"\pi", r"\pi")],
)
def test_references_of_several_types(answer, text):
    assert reference_text(answer) == text
    AnswerJudge().check_reference({"answer": answer})
    assert judge(answer, f"\\boxed{{{text}}}").is_correct


@pytest.mark.parametrize("answer", [None, True, {}, [], [None], "", " "])
def test_references_that_nothing_can_be_compared_with(answer):
    with pytest.raises(ValueError, match="answer is no text, number or list of them but"):
        AnswerJudge().check_reference({"answer": answer})


@pytest.mark.parametrize(
    "text",
    [
        "1990!",
        "7" * 5000,
        "9" * 3000 + "!",
        r"(1,2)^2",
        r"\begin{pmatrix}1&2\end{pmatrix}^2",
        r"\sqrt{\begin{pmatrix}1\\2\end{pmatrix}}",
        r"\begin{pmatrix}1&2\\3\end{pmatrix}",
        r"\{1,2\}^{\{3\}}",
        r"\frac{1}{0}",
        r"0^0",
        r"\log 0",
        r"\infty - \infty",
        "1e999",
        "{" * 3000 + "5" + "}" * 3000,
        "(" * 3000 + "5" + ")" * 3000,
        "\ud83d",
        r"x < \emptyset",
        r"[2,1]",
        r"\int_0^1",
        "\\" * 999,
    ],
)
@pytest.mark.parametrize("numbers_only", [False, True])
@pytest.mark.parametrize("expected", ["24", r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,3)"])
def test_no_answer_raises(text, numbers_only, expected):
    assert judge(expected, f"So it is $\\boxed{{{text}}}$.", numbers_only).is_correct is False
    assert judge(text, f"So it is $\\boxed{{{expected}}}$.", numbers_only).is_correct is False
