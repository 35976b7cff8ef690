"""The code of a response."""

from codepmp_jax.tasks.judges.programs import code_of


def test_the_code_of_a_response():
    assert code_of("x = 1") == "x = 1"
    assert code_of("See:\n```python\nx = 1\n```\nor\n```\nx = 2\n```") == "x = 1\n"
    assert code_of("```py\nx = 1") == "x = 1"
    assert code_of("```\n```") == ""
