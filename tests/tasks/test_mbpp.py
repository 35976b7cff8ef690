"""MBPP: what the tests use of a program."""

from codepmp_jax.tasks.mbpp import make_program


def test_the_names_that_the_tests_use_come_from_the_solution():
    reference = {
        "setup": "import math",
        "solution": "class Pair:\n    pass\nLIMIT = 3\ndef longest(x):\n    return x\ndef unused(): pass\n",
        "tests": ["assert longest([Pair()]) == math.pi", "assert LIMIT == 3"],
    }
    program = make_program("", reference, "x = 1")
    assert program.functions == ("LIMIT", "longest")
    assert program.classes == ("Pair",)
    assert program.tests == "\n".join(reference["tests"])
