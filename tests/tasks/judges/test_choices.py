"""Which option a response takes."""

import pytest

from codepmp_jax.tasks.judges.choices import ChoiceJudge, find_options

OPTIONS = ["A dog barks.", "Some cats are not dogs", "All dogs bark", "None of it"]


@pytest.mark.parametrize(
    ("response", "index"),
    [
        ("B", 1),
        ("b", 1),
        ("(C)", 2),
        ("D.", 3),
        ("**B**", 1),
        ("a)", 0),
        ("some cats are  not dogs.", 1),
        ("A dog barks.", 0),
        ("The answer is (B)", 1),
        ("The answer is (B).", 1),
        ("Answer: b.", 1),
        ("answer: b", 1),
        ("**Answer:** C", 2),
        ("**Answer: C**", 2),
        ("The correct option is D because it is.", 3),
        ("The answer is A, since dogs bark.", 0),
        ("The answer is A because dogs bark.", 0),
        ("The answer is option C.", 2),
        ("The best choice is C!", 2),
        ("Final answer: A dog barks.", 0),
        ("Answer: All dogs bark", 2),
        ("First I thought the answer is (A). But the answer is (D).", 3),
        ("(A) is wrong, (B) is wrong. So the answer is (C)", 2),
        (r"So \boxed{B}.", 1),
        (r"\boxed{\text{C}}", 2),
        (r"\boxed{\text{(D)}}", 3),
        (r"\boxed{\text{None of it}}", 3),
        ("Let us see.\nB. Some cats are not dogs", 1),
        ("Let us see.\n(B) Some cats", 1),
        ("I choose (C) as it holds", 2),
        ("The answer is E", None),
        ("The answer is a matter of taste", None),
        ("The answer is A matter of taste", None),
        ("I would say that cats bark.", None),
        ("A cat.", None),
        ("", None),
        ("I", None),
    ],
)
def test_the_option_of_a_response(response, index):
    indexes, _ = find_options(response, OPTIONS) or ((), "")
    assert (indexes[0] if len(indexes) == 1 else None) == index


def test_judging():
    reference = {"options": OPTIONS, "answer": 1}

    def judge(response: str):
        return ChoiceJudge().judge("", reference, response, 1.0)

    assert judge("(B)") == (True, "B", "correct")
    assert judge("(C)") == (False, "C", "wrong answer")
    assert judge("Hm") == (False, None, "no answer")


def test_every_option_is_itself():
    for index, text in enumerate(OPTIONS):
        found = find_options(text, OPTIONS)
        assert found
        assert found[0] == (index,)


@pytest.mark.parametrize(
    ("response", "indexes"),
    [
        ("The answer is A and C.", (0, 2)),
        ("Both B and D are correct.", (1, 3)),
        (r"\boxed{B} or \boxed{C}", (1, 2)),
        ("A, B", (0, 1)),
    ],
)
def test_a_response_that_takes_several_options_takes_none(response, indexes):
    found = find_options(response, OPTIONS)
    assert found is not None
    assert found[0] == indexes
    judgement = ChoiceJudge().judge("", {"options": OPTIONS, "answer": indexes[0]}, response, 1.0)
    assert (judgement.is_correct, judgement.verdict) == (False, "several answers")


@pytest.mark.parametrize("answer", [1, 1.0, "1", "B", "b", "(B)", "B."])
def test_the_right_option_as_a_number_or_a_letter(answer):
    reference = {"options": OPTIONS, "answer": answer}
    ChoiceJudge().check_reference(reference)
    assert ChoiceJudge().judge("", reference, "(B)", 1.0).is_correct


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": 4}, "answer is no index from 0 to 3, nor a letter, but 4"),
        ({"answer": "E"}, "but 'E'"),
        ({"answer": None}, "but None"),
        ({"answer": True}, "but True"),
        ({"answer": 0.5}, "but 0.5"),
        ({"options": "ABCD"}, "options are no list of 2 to 26 texts but 'ABCD'"),
        ({"options": [1, 2]}, "options are no list"),
    ],
)
def test_references_that_nothing_can_be_compared_with(changes, message):
    with pytest.raises(ValueError, match=message):
        ChoiceJudge().check_reference({"options": OPTIONS, "answer": 1} | changes)
