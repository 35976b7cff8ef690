"""From a response to the program that is run."""

from codepmp_jax.evaluation.judges.programs import code_of, make_program, split_prompt

PROMPT = "import math\n\ndef helper(x):\n    return x\n\ndef add(a, b):\n    '''The sum.'''\n"
REFERENCE = {"entry_point": "add", "test": "def check(c): pass\n"}


def test_the_code_of_a_response():
    assert code_of("x = 1") == "x = 1"
    assert code_of("See:\n```python\nx = 1\n```\nor\n```\nx = 2\n```") == "x = 1\n"
    assert code_of("```py\nx = 1") == "x = 1"
    assert code_of("```\n```") == ""


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


def test_the_names_of_mbpp_come_from_its_solution():
    reference = {
        "setup": "import math",
        "solution": "class Pair:\n    pass\nLIMIT = 3\ndef longest(x):\n    return x\ndef unused(): pass\n",
        "tests": ["assert longest([Pair()]) == math.pi", "assert LIMIT == 3"],
    }
    program = make_program("", reference, "x = 1")
    assert program.functions == ("LIMIT", "longest")
    assert program.classes == ("Pair",)
    assert program.tests == "\n".join(reference["tests"])
