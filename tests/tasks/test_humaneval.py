"""HumanEval: from a piece of code to the program that is run."""

from codepmp_jax.tasks.humaneval import make_program, split_prompt

PROMPT = "import math\n\ndef helper(x):\n    return x\n\ndef add(a, b):\n    '''The sum.'''\n"
REFERENCE = {"entry_point": "add", "test": "def check(c): pass\n"}


def test_a_prompt_is_split_before_its_function():
    before, head = split_prompt(PROMPT, "add") or ("", "")
    assert before + head == PROMPT
    assert head.startswith("def add(")
    assert split_prompt(PROMPT, "ad") is None


def test_a_whole_function_stands_behind_the_prompts_helpers():
    whole = "def add(a, b):\n    return helper(a) + b\n"
    program = make_program(PROMPT, REFERENCE, whole)
    assert (program.code, program.functions) == (whole, ("add",))
    assert program.setup.endswith("return x\n\n")
    assert program.tests.endswith("check(add)\n")


def test_a_body_goes_on_where_the_prompt_ends():
    program = make_program(PROMPT, REFERENCE, "    return a + b\n")
    assert program.code == split_prompt(PROMPT, "add")[1] + "    return a + b\n"  # pyright: ignore[reportOptionalSubscript]
