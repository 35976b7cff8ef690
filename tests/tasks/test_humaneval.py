"""HumanEval: from a row to its tests."""

from codepmp_jax.tasks.humaneval import make_program, split_prompt

PROMPT = "import math\n\ndef helper(x):\n    return x\n\ndef add(a, b):\n    '''The sum.'''\n"
REFERENCE = {"entry_point": "add", "test": "def check(c): pass\n"}


def test_a_prompt_is_split_before_its_function():
    before, head = split_prompt(PROMPT, "add") or ("", "")
    assert before + head == PROMPT
    assert head.startswith("def add(")
    assert split_prompt(PROMPT, "ad") is None


def test_tests_stand_behind_the_prompts_helpers():
    program = make_program(PROMPT, REFERENCE)
    assert program.setup.endswith("return x\n\n")
    assert program.tests.endswith("check(add)\n")
    assert (program.functions, program.classes) == (("add",), ())
    assert program.setup + program.head == PROMPT
