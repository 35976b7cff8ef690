"""The gate: each reason, and the order in which they are asked."""

import dataclasses

import pytest

from codepmp_jax.config import DecontaminationConfig, GateConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.gate import Gate
from codepmp_jax.text.tokenization import Tokenizer

CODE = "def double(x):\n    return 2 * x\n"
WORSE = "def double(x):\n    return x\n"
GOOD = {
    "describe": Completion("s", "Doubles a number.", finish_reason="stop"),
    "chosen": Completion("s", CODE, finish_reason="stop", num_tokens=12),
    "rejected": Completion("s", WORSE, finish_reason="stop", num_tokens=10),
}


def judge(changes, config=None, language="python", human_eval=False):
    """The reason for which the good texts with `changes` by pass give no pair; None where they do."""
    texts = {name: dataclasses.replace(GOOD[name], **changes.get(name, {})) for name in GOOD}
    gate = Gate(config or GateConfig(), DecontaminationConfig(human_eval=human_eval))
    verdict = gate.judge(texts, language)
    return None if verdict is None else verdict.reason


def test_good_texts_make_a_pair():
    assert judge({}) is None
    assert judge({}, GateConfig(parsable=("chosen", "rejected"), max_length_ratio=2.0)) is None


@pytest.mark.parametrize("name", GOOD)
def test_a_text_that_is_none(name):
    assert judge({name: {"text": " \n"}}) == f"{name}: empty"
    assert judge({name: {"failure": "prompt too long"}}) == f"{name}: prompt too long"
    assert judge({name: {"finish_reason": "length"}}) == f"{name}: cut off"
    assert judge({name: {"finish_reason": "length"}}, GateConfig(drop_cut_off=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't do that.",
        "I am unable to see the code.",
        "Sorry, no.",
        "As an AI language model, I",
        "I cannot assist with this request.",
        "Unfortunately, the description",
    ],
)
def test_refusals(text):
    assert judge({"rejected": {"text": text}}) == "rejected: refusal"
    assert judge({"rejected": {"text": text}}, GateConfig(drop_refusals=False)) is None
    # What no model wrote is no refusal.
    assert judge({"rejected": {"text": text, "finish_reason": ""}}) is None


@pytest.mark.parametrize(
    "text",
    ["# Sorry for the hack.\nx = 1\n", "i = can_t\n", "Sorry = Exception\n", "as_an_ai = 1\n"],
)
def test_code_is_no_refusal(text):
    assert judge({"rejected": {"text": text}}) is None


def test_identical_texts():
    assert judge({"rejected": {"text": CODE}}) == "identical"


@pytest.mark.parametrize("prompt", ["Doubles a number.", "p " * 40])
def test_identical_once_truncated(prompt):
    """A difference one token before the end of a row is seen, one token after it is not."""
    config = GateConfig(max_length=64)
    tokenizer = Tokenizer.load("embedded")
    common = "x = 1\n" * 10
    (row,) = tokenizer.encode([tokenizer.format(prompt, common, config.template)])
    for max_length, reason in (
        (len(row.tokens), "identical once truncated"),
        (len(row.tokens) + 1, None),
    ):
        config = dataclasses.replace(config, max_length=max_length)
        changes = {
            "describe": {"text": prompt},
            "chosen": {"text": common + "yes = 1"},
            "rejected": {"text": common + "no = 1"},
        }
        assert judge(changes, config) == reason


def test_parsable_asks_for_the_responses_named():
    broken = {"text": "def double(x:\n"}
    assert judge({"rejected": broken}) is None
    assert judge({"rejected": broken}, GateConfig(parsable=("chosen",))) is None
    config = GateConfig(parsable=("rejected",))
    assert judge({"rejected": broken}, config) == "rejected: not parsable"
    assert judge({"rejected": broken}, config, language="brainfuck") is None


def test_length_ratio():
    config = GateConfig(max_length_ratio=2.0)
    assert judge({"rejected": {"text": "x" * 2 * len(CODE)}}, config) is None
    assert judge({"rejected": {"text": "x" * (2 * len(CODE) + 1)}}, config) == "length ratio"
    assert judge({"rejected": {"text": "x"}}, config) == "length ratio"


@pytest.mark.parametrize("name", GOOD)
def test_benchmark_problems_are_found_in_all_texts(name):
    problem = (
        "from typing import List\n\n\ndef has_close_elements(numbers: List[float], threshold: float) "
        "-> bool:\n    for idx, elem in enumerate(numbers):\n        for idx2, elem2 in "
        "enumerate(numbers):\n            if idx != idx2:\n                distance = abs(elem - elem2)"
        "\n                if distance < threshold:\n                    return True\n\n    return False\n"
    )
    assert judge({}, human_eval=True) is None
    assert judge({name: {"text": problem}}, human_eval=True) == f"{name}: contaminated"


def test_settings_name_everything():
    first = Gate(GateConfig(), DecontaminationConfig()).settings()
    for config, decontamination in (
        (GateConfig(max_length=7), DecontaminationConfig()),
        (GateConfig(), DecontaminationConfig(ngram=9)),
    ):
        assert Gate(config, decontamination).settings() != first
