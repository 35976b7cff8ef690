"""The part of a reply that is run, by the ranked list of `code_blocks`."""

from typing import Any

import pytest

from codepmp_jax.tasks.judges.code_blocks import code_blocks, code_of

HEAD = 'def add(a, b):\n    """The sum.\n\n    >>> add(1, 2)\n    3\n    """\n'
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
STUB = 'def add(a, b):\n    """The sum."""\n    pass\n'
FENCED = f"```python\n{RIGHT}```"

# Replies that mean RIGHT, by the rule that finds it.
WHOLE = {
    "a function": RIGHT,
    "its docstring has fences": f'def add(a, b):\n    """As in\n\n    ```\n{WRONG}\n    ```\n    """\n    return a + b\n',
    "a fence at the margin of a docstring": f'"""\n```\n{WRONG}```\n"""\n{RIGHT}',
    "the prompt and its rest": f"import math\n\n{HEAD}    return a + b\n",
    "a name": "import operator\nadd = operator.add\n",
    "an import": "from operator import add",
    "defined on a condition": f"try:\n    import nosuch\nexcept ImportError:\n    nosuch = None\nif True:\n    {RIGHT.replace(chr(10), chr(10) + '    ')}\n",
    "Windows": RIGHT.replace("\n", "\r\n"),
    "end-of-text mark": f"{RIGHT}<|endoftext|>{WRONG}",
}
BLOCK = {
    "one block": f"Here it is:\n{FENCED}\nIt adds.",
    "named in capitals": f"```Python3\n{RIGHT}```",
    "named with more": f'```python title="add.py" linenos\n{RIGHT}```',
    "in braces": f"```{{python}}\n{RIGHT}```",
    "a space before the name": f"``` python\n{RIGHT}```",
    "tildes": f"~~~py\n{RIGHT}~~~",
    "four backticks around three": '````python\ndef add(a, b):\n    """\n```\nadd(1, 2)\n```\n    """\n    return a + b\n````',
    "three within a docstring of three": '```python\ndef add(a, b):\n    """Adds.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n```',
    "not closed": f"```python\n{RIGHT}",
    "closed behind the last line": "```python\ndef add(a, b):\n    return a + b```",
    "closed by the next one": f"```python\n{RIGHT}\nand to run it:\n```bash\npython add.py\n```",
    "indented": "So:\n\n    ```python\n    def add(a, b):\n        return a + b\n    ```\n",
    "in a list": "1. First:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n2. Then rest.",
    "in an item": "- ```python\n  def add(a, b):\n      return a + b\n  ```\n",
    "quoted": "> Try\n> ```python\n> def add(a, b):\n>     return a + b\n> ```\n",
    "content indented, fence not": "```python\n    def add(a, b):\n        return a + b\n```",
    "behind text": f"The code is: ```python\n{RIGHT}```",
    "bold": f"**Solution:**\n\n{FENCED}\n\n**Explanation:** adds.",
    "in one line": "It is ```add = lambda a, b: a + b``` of course.",
    "in one line, named": "```python add = lambda a, b: a + b```",
    "behind an installation": f"```bash\npip install numpy\n```\n{FENCED}",
    "behind a session": f"```\n>>> add(1, 2)\n3\n```\n{FENCED}",
    "before its use": f"{FENCED}\nUse:\n```python\nprint(add(1, 2))\n```",
    "before its tests": f"{FENCED}\n```python\nfrom add import add\nassert add(1, 2) == 3\n```".replace(
        "from add import add\n", ""
    ),
    "before its output": f"{FENCED}\nOutput:\n```text\n3\n```",
    "before other languages": f"{FENCED}\n```javascript\nfunction add(a, b) {{ return a - b }}\n```",
    "behind a stub": f"```python\n{STUB}```\nComplete:\n{FENCED}",
    "before a stub": f"{FENCED}\nThe form was\n```python\n{STUB}```",
    "a stub of dots": f"```python\ndef add(a, b):\n    ...\n```\n{FENCED}",
    "a stub that raises": f"{FENCED}\n```python\ndef add(a, b):\n    raise NotImplementedError('todo')\n```",
    "behind a draft": f"First try:\n```python\n{WRONG}```\nThat subtracts. Better:\n{FENCED}",
    "behind a thought": f"<think>\n```python\n{WRONG}```\n</think>\n{FENCED}",
    "behind a thought opened by the prompt": f"maybe\n```python\n{WRONG}```\n</think>\n{FENCED}",
    "a thought with no code": f"<think>\nI add.\n</think>\n\n{RIGHT}",
    "a helper in another block": "```python\ndef plus(a, b):\n    return a + b\n```\n```python\ndef add(a, b):\n    return plus(a, b)\n```",
    "a helper in a later block": "```python\ndef add(a, b):\n    return plus(a, b)\n```\nwith\n```python\ndef plus(a, b):\n    return a + ZERO + b\n```\nand\n```python\nZERO = 0\n```",
    "imports in another block": "```python\nimport operator\n```\n```python\nfrom __future__ import annotations\ndef add(a: Nothing, b):\n    return operator.add(a, b)\n```",
    "a later one cut off": f"{FENCED}\nOr shorter:\n```python\ndef add(a, b):\n    return sum((a,",
    "its use cut off": f"```python\n{RIGHT}\n\nprint(add(1,",
    "marks of Code Llama": f"[PYTHON]\n{RIGHT}[/PYTHON]\n[TESTS]\nassert add(1, 2) == 3\n[/TESTS]",
    "marks of MBPP": f"[BEGIN]\n{RIGHT}[DONE]\n\nYou are an expert. Task: ...\n[BEGIN]\ndef f(): pass\n[DONE]",
    "closing mark of MBPP": f"{RIGHT}[DONE]\nYou are an expert",
    "HTML": "<pre><code class='python'>def add(a, b):\n    return a + b\n</code></pre>",
}
REST = {
    "a body": "    return a + b\n",
    "of several lines": "    c = a\n    return c + b\n",
    "without its first indentation": "c = a\n    return c + b",
    "without indentation": "c = a\nreturn c + b",
    "end-of-text mark": "    return a + b</s>",
    "in a block": "```python\n    return a + b\n```",
    "in a block without indentation": "Fill in:\n```python\nreturn a + b\n```\nDone.",
    "behind prose": "The body:\n\n    return a + b\n",
    "before prose": "    return a + b\n\nThis returns the sum.",
    "before a fence": "    return a + b\n```\nThis adds.",
    "before itself": f"    return a + b\n\n\n{RIGHT}",
    "before itself cut off": "    return a + b\n\n\ndef add(a, b):\n    return (a",
    "before another, cut off": '    return a + b\n\n\ndef sub(a, b):\n    """Subtra',
    "with its helper": "    return plus(a, b)\n\n\ndef plus(a, b):\n    return a + b\n",
    "before calls": "    return a + b\n\nprint(add(int(input()), 1))\nassert add(1, 1) == 3\n",
    "before a class cut off": "    return a + b\n\nclass Test(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1",
    "with a space": " return a + b\n",
    "with a tab": "\treturn a + b\n",
    "its first line with a space": " c = a\n    return c + b",
    "a comment at the margin": "    c = a\n# now add\n    return c + b\n",
}
BETWEEN = {
    "behind prose": f"Here is the function:\n\n{RIGHT}",
    "before prose": f"{RIGHT}\nThis function adds a and b.\n",
    "before a closing fence": f"{RIGHT}```",
    "before a closing fence and more": f"{RIGHT}```\nTest:\n```python\nprint(add(1, 2))\n```",
    "with imports": "We need this:\nimport operator\nfrom typing import (\n    Any,\n)\n\nNow:\n\n@staticmethod\ndef add(a, b):\n    return operator.add(a, b)\n\nIf a is 1, it is 1 + b.\n",
    "with set-up": "Sure.\ncache = {}\ncache.update(one=1)\ndef add(a, b):\n    return a + b + cache['one'] - 1\nfor example, add(1, 2) is 3.",
    "before one cut off": f"Look:\n{RIGHT}\ndef other(x):\n    return (x",
    "indented": "So:\n\n    import math\n\n    def add(a, b):\n        return a + b\n\nThat is all.",
    "indented by a tab": "So:\n\n\tdef add(a, b):\n\t    return a + b\n",
    "with a text at the margin": "So:\ndef add(a, b):\n    '''\nThe sum.\n'''\n    return a + b\nDone",
}
# Replies whose meaning is another function, or none.
MEANT_OTHERWISE = {
    "wrong": WRONG,
    "the correction is wrong": f"{FENCED}\nNo:\n```python\n{WRONG}```",
    "right only in a thought": f"<think>\n{FENCED}\n</think>\n```python\n{WRONG}```",
    "a thought that does not end": f"<think>\n{FENCED}\nbut wait",
    "another name": "def plus(a, b):\n    return a + b\n",
    "cut off in the function": "```python\ndef add(a, b):\n    c = a +",
    "cut off in the body": "    c = a + b\n    return (c",
    "a stub": f"```python\n{STUB}```",
    "prose": "Just add a and b.",
    "a word": "None",
    "statements": "a = 1\nb = 2\na + b\n",
    "calls": "import math\nprint(math.pi)\n",
    "nothing": " \n",
    "an empty block": "```python\n```",
    "fails in its own check": f"```python\n{RIGHT}\nassert add(1, 1) == 3\n```",
}


def adds(reply: str, head: str = HEAD) -> bool:
    """Whether the code of a reply adds."""
    names: dict[str, Any] = {"__name__": "candidate"}
    try:
        exec(compile(code_of(reply, ["add"], head), "<candidate>", "exec"), names)
        add = names["add"]
        return (add(1, 2), add(-5, 2)) == (3, -3)
    except Exception:
        return False


@pytest.mark.parametrize("name", WHOLE)
def test_a_reply_that_is_code(name):
    assert adds(WHOLE[name])
    assert adds(WHOLE[name], head="")


@pytest.mark.parametrize("name", BLOCK)
def test_a_block(name):
    assert adds(BLOCK[name])
    assert adds(BLOCK[name], head="")


@pytest.mark.parametrize("name", REST)
def test_the_rest_of_a_prompt(name):
    assert adds(REST[name])


@pytest.mark.parametrize("name", BETWEEN)
def test_code_between_prose(name):
    assert adds(BETWEEN[name])
    assert adds(BETWEEN[name], head="")


@pytest.mark.parametrize("name", MEANT_OTHERWISE)
def test_no_other_code_is_run(name):
    assert not adds(MEANT_OTHERWISE[name])


def test_a_block_that_python_can_parse_is_run_as_it_is():
    code = (
        f"import math\n{RIGHT}\nassert add(1, 2) == 3\nif __name__ == '__main__':\n    print(1)\n"
    )
    assert code_of(f"So:\n```python\n{code}```", ["add"]) == code


def test_several_names_may_be_in_several_blocks():
    reply = "```python\nclass Pair:\n    pass\n```\n```python\ndef longest(x):\n    return x\n```"
    names: dict[str, Any] = {}
    exec(code_of(reply, ["longest", "Pair"]), names)
    assert names["longest"](names["Pair"]) is names["Pair"]


def test_what_cannot_be_told_apart_is_the_last_block():
    assert code_of("```\na = (\n```\n```\nb = (\n```", ["add"]) == "b = (\n"
    assert code_of("add(", ["add"]) == "add("


def test_blocks():
    text = "a ``b`` c\n```\nx = 1\n```\n~~~\ny = 1\n```\n~~~\n````\n```\n````\n```z = 1```\n``` \nw"
    assert code_blocks(text) == ["x = 1\n", "y = 1\n```\n", "```\n", "z = 1", "w\n"]


def test_long_replies_take_no_long_time():
    prose = "from here on we import what we need, for each of these = that.\n" * 2000
    assert not adds(prose)
    assert adds(f"{prose}{FENCED}")


def test_long_indented_replies_take_no_long_time():
    assert not adds("so:\n\n" + "    it follows that x = y\n\n" * 3000 + "x")
