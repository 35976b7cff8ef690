"""Benchmarks in the schema of their authors -> problems."""

import json
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DecontaminationConfig, ProblemsConfig, PuzzlesConfig
from codepmp_jax.config.tasks import TASKS
from codepmp_jax.evaluation import problems as module
from codepmp_jax.evaluation.problems import read_benchmark, run
from codepmp_jax.records.schema import Candidate, Problem, read_problems
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.judges.given import digest
from codepmp_jax.text.decontamination import Decontaminator
from tests.tasks.test_bigcodebench import ROW as BIGCODEBENCH_ROW
from tests.tasks.test_evalplus import HUB as HUMANEVAL_PLUS_ROW
from tests.tasks.test_evalplus import HUB_SHARED as MBPP_PLUS_ROW
from tests.tasks.test_livecodebench import PAIRS, SUM

PPE_ROW = {
    "question_id": "7",
    "model_name": "claude",
    "prompt": "What is seven times six, my friend?",
    "response_1": "42",
    "response_2": "41",
    "response_3": "42",
    "scores": [True, False, True],
    "sampled_conflict_pairs": [[0, 1], [1, 2]],
}
PPE_SETS = ("ppe_gpqa", "ppe_ifeval", "ppe_math", "ppe_mbpp_plus", "ppe_mmlu_pro")


# In the order that the hash of its id gives.
GPQA_OPTIONS = ["10^-4 eV", "10^-8 eV", "10^-9 eV", "10^-11 eV"]
GPQA = Problem(
    "gpqa/rec06pnAkLOr2t2mp",
    "Two quantum states have lifetimes.",
    tuple(
        Candidate(
            text, text == "10^-4 eV", letter, "correct" if text == "10^-4 eV" else "wrong answer"
        )
        for letter, text in zip("ABCD", GPQA_OPTIONS, strict=True)
    ),
    "gpqa",
    "",
    {"options": GPQA_OPTIONS, "answer": GPQA_OPTIONS.index("10^-4 eV")},
)


def given(task: str, name: str, prompt: str, responses: dict[str, bool], subset="", **reference):
    """The problem whose responses were judged by the authors."""
    candidates = tuple(
        Candidate(text, right, None, "correct" if right else "wrong answer")
        for text, right in responses.items()
    )
    correct = sorted({digest(text) for text, right in responses.items() if right})
    return Problem(
        f"{task}/{name}", prompt, candidates, task, subset, {"correct": correct, **reference}
    )


ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [
        {"question": "Natalia sold clips?", "answer": "48/2 = <<48/2=24>>24\n#### 72"},
        {"question": "And Weng?", "answer": "Much.\n#### 1,234"},
        {"question": "And Tim?", "answer": "He lost.\n#### -3"},
    ],
    "math": [
        {
            "problem": "What is $1+1$?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": r"It is $\boxed{1}$, no, $\boxed{\frac{4}{2}}$.",
        },
        {"problem": "And?", "level": "Level 5", "type": "Geometry", "solution": r"\boxed{x}"},
    ],
    "math500": [
        {
            "problem": "Convert $(0,3)$.",
            "solution": r"So \boxed{\left( 3, \frac{\pi}{2} \right)}",
            "answer": r"\left( 3, \frac{\pi}{2} \right)",
            "subject": "Precalculus",
            "level": 2,
            "unique_id": "test/precalculus/807.json",
        }
    ],
    "reclor": [
        {
            "context": "In a business whose owners work, wages fall. ",
            "question": "Which follows?",
            "answers": ["one", "two", "three", "four"],
            "label": 2,
            "id_string": "val_0",
        }
    ],
    "logiqa2": [
        {
            "id": 2920,
            "answer": 3,
            "text": "One seminar had 18 participants.",
            "question": "What can be concluded?",
            "options": ["one", "two", "three", "four"],
            "type": {"Sufficient Conditional Reasoning": True},
        }
    ],
    "humaneval": [
        {
            "task_id": "HumanEval/0",
            "prompt": "import math\n\n\ndef f(x):\n    '''Doubles.'''\n",
            "entry_point": "f",
            "canonical_solution": "    return 2 * x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 2\n",
        }
    ],
    "mbpp": [
        {
            "task_id": 2,
            "text": "Write a function to double.",
            "code": "def f(x):\r\n    return 2 * x",
            "test_list": ["assert f(1) == 2", "assert f(2) == 4"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        {
            "source_file": "x.ipynb",
            "task_id": 3,
            "prompt": "Write a function to halve.",
            "code": "def g(x):\n    return x / 2",
            "test_imports": ["import math"],
            "test_list": ["assert math.isclose(g(1), 0.5)"],
        },
    ],
    "aime2024": [
        {
            "id": 60,
            "problem": "Every morning Aya goes for a long walk.",
            "solution": "It takes 204 minutes.",
            "answer": "204",
            "url": "u",
            "year": "2024",
        }
    ],
    "aime2025": [
        {"problem": "Find the sum of all integer bases.", "answer": "070", "id": "0"},
    ],
    "gpqa": [
        {
            "Record ID": "rec06pnAkLOr2t2mp",
            "Question": "Two quantum states have lifetimes.",
            "Correct Answer": "10^-4 eV\n",
            "Incorrect Answer 1": "10^-11 eV",
            "Incorrect Answer 2": "10^-8 eV",
            "Incorrect Answer 3": "10^-9 eV",
        }
    ],
    "rewardbench": [
        {
            "id": 30,
            "prompt": "Say hello to me, please.",
            "chosen": "Hello.",
            "chosen_model": "a",
            "rejected": "",
            "rejected_model": "b",
            "subset": "hep-go",
        }
    ],
    "rewardbench2": [
        {
            "id": "tied:3",
            "prompt": "Name a primary colour of paint.",
            "chosen": ["Red.", "Blue."],
            "rejected": ["Green."],
            "num_correct": 2,
            "num_rejected": 1,
            "subset": "Ties",
        },
        {
            "id": "3",
            "prompt": "And another colour of paint?",
            "chosen": ["Red."],
            "rejected": ["Green.", "Pink.", "Brown."],
            "num_correct": 1,
            "num_rejected": 3,
            "subset": "Math",
        },
    ],
    "rm_bench": [
        {
            "id": 5,
            "prompt": "Explain the cat of the physicist.",
            "chosen": ["a", "b", "c"],
            "rejected": ["d", "e", "f"],
            "domain": "safety-refuse",
        }
    ],
    "judgebench": [
        {
            "pair_id": "81ec",
            "question": "Which channel has the most capacity?",
            "response_A": "This one.",
            "response_B": "That one.",
            "label": "B>A",
            "source": "mmlu-pro-computer science",
            "response_model": "gpt-4o",
        }
    ],
    "ppe_preference": [
        {
            "question_id": "q1",
            "prompt": "Write me a poem about spring.",
            "response_1": "Spring.",
            "response_2": "Sprung.",
            "winner": "model_b",
            "language": "English",
        }
    ],
    **{name: [PPE_ROW] for name in PPE_SETS},
    "livecodebench": [SUM, PAIRS],
    "bigcodebench": [BIGCODEBENCH_ROW],
    "humaneval_plus": [HUMANEVAL_PLUS_ROW],
    "mbpp_plus": [MBPP_PLUS_ROW],
}
EXPECTED = {
    "gsm8k": Problem("gsm8k/1", "And Weng?", (), "gsm8k", "", {"answer": "1234"}),
    "math": Problem("math/0", "What is $1+1$?", (), "math", "level 1", {"answer": r"\frac{4}{2}"}),
    "math500": Problem(
        "math500/test/precalculus/807.json",
        "Convert $(0,3)$.",
        (),
        "math500",
        "level 2",
        {"answer": r"\left( 3, \frac{\pi}{2} \right)"},
    ),
    "reclor": Problem(
        "reclor/val_0",
        "In a business whose owners work, wages fall.\n\nWhich follows?",
        (
            Candidate("one", False, "A", "wrong answer"),
            Candidate("two", False, "B", "wrong answer"),
            Candidate("three", True, "C", "correct"),
            Candidate("four", False, "D", "wrong answer"),
        ),
        "reclor",
        "",
        {"options": ["one", "two", "three", "four"], "answer": 2},
    ),
    "logiqa2": Problem(
        "logiqa2/2920",
        "One seminar had 18 participants.\n\nWhat can be concluded?",
        (
            Candidate("one", False, "A", "wrong answer"),
            Candidate("two", False, "B", "wrong answer"),
            Candidate("three", False, "C", "wrong answer"),
            Candidate("four", True, "D", "correct"),
        ),
        "logiqa2",
        "",
        {"options": ["one", "two", "three", "four"], "answer": 3},
    ),
    "humaneval": Problem(
        "HumanEval/0",
        "import math\n\n\ndef f(x):\n    '''Doubles.'''\n",
        (),
        "humaneval",
        "",
        {
            "entry_point": "f",
            "solution": "def f(x):\n    '''Doubles.'''\n    return 2 * x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 2\n",
        },
    ),
    "mbpp": Problem(
        "mbpp/3",
        "Write a function to halve.\nYour code should pass these tests:\n\n"
        "assert math.isclose(g(1), 0.5)",
        (),
        "mbpp",
        "",
        {
            "solution": "def g(x):\n    return x / 2",
            "setup": "import math\n",
            "tests": ["assert math.isclose(g(1), 0.5)"],
        },
    ),
    "aime2024": Problem(
        "aime2024/60",
        "Every morning Aya goes for a long walk.",
        (),
        "aime2024",
        "",
        {"answer": "204"},
    ),
    "aime2025": Problem(
        "aime2025/0", "Find the sum of all integer bases.", (), "aime2025", "", {"answer": "70"}
    ),
    "gpqa": GPQA,
    "rewardbench": given(
        "rewardbench", "30", "Say hello to me, please.", {"Hello.": True, "": False}, "hep-go"
    ),
    "rewardbench2": given(
        "rewardbench2",
        "Ties/tied:3",
        "Name a primary colour of paint.",
        {"Red.": True, "Blue.": True, "Green.": False},
        "Ties",
        kind="tied",
        question="3",
    ),
    "rm_bench": given(
        "rm_bench",
        "5",
        "Explain the cat of the physicist.",
        {text: text < "d" for text in "abcdef"},
        "safety-refuse",
    ),
    "judgebench": given(
        "judgebench",
        "81ec",
        "Which channel has the most capacity?",
        {"This one.": False, "That one.": True},
        "mmlu-pro-computer science",
    ),
    "ppe_preference": given(
        "ppe_preference",
        "q1",
        "Write me a poem about spring.",
        {"Spring.": False, "Sprung.": True},
        "English",
    ),
    "livecodebench": Problem(
        "livecodebench/abc301_a",
        "Print the sum of the numbers.\n\nRead the input from standard input, and write the output to standard output.",
        (),
        "livecodebench",
        "easy",
        {
            "cases": [["1 2\n3\n", "6\n"], ["", "0\n"], ["0.5 0.5", "1.00"]],
            "method": "",
            "starter": "",
        },
    ),
    "bigcodebench": Problem(
        "BigCodeBench/900",
        BIGCODEBENCH_ROW["instruct_prompt"],
        (),
        "bigcodebench",
        "",
        {
            "entry_point": "task_func",
            "solution": BIGCODEBENCH_ROW["code_prompt"] + BIGCODEBENCH_ROW["canonical_solution"],
            "setup": BIGCODEBENCH_ROW["code_prompt"] + "\n    pass\n",
            "test": BIGCODEBENCH_ROW["test"],
        },
    ),
    "humaneval_plus": Problem(
        "HumanEval/900",
        HUMANEVAL_PLUS_ROW["prompt"],
        (),
        "humaneval_plus",
        "",
        {
            "entry_point": "mean",
            "solution": HUMANEVAL_PLUS_ROW["prompt"] + HUMANEVAL_PLUS_ROW["canonical_solution"],
            "test": HUMANEVAL_PLUS_ROW["test"],
        },
    ),
    "mbpp_plus": Problem(
        "mbpp_plus/2",
        "Write a function to find the shared elements.\nYour code should pass these tests:\n\n"
        "assert set(similar_elements((3, 4),(4, 5))) == set((4,))",
        (),
        "mbpp_plus",
        "",
        {"solution": MBPP_PLUS_ROW["code"], "setup": "", "tests": [MBPP_PLUS_ROW["test"]]},
    ),
    **{
        name: Problem(
            f"{name}/claude/7",
            PPE_ROW["prompt"],
            (
                Candidate("42", True, None, "correct"),
                Candidate("41", False, None, "wrong answer"),
                Candidate("42", True, None, "correct"),
            ),
            name,
            "claude",
            {"correct": [digest("42")], "pairs": [[0, 1], [1, 2]]},
        )
        for name in PPE_SETS
    },
}


def write_jsonl(path, rows) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def read(task: str, input: object = None, **settings: Any) -> list[Problem]:
    given = None if input is None else str(input)
    return list(read_benchmark(ProblemsConfig(task=task, input=given, **settings)))  # pyright: ignore[reportArgumentType]


def test_every_benchmark_of_rows_is_tested():
    of_rows = {task for task in TASKS if find_task(task, "task").make_problem is not None}
    assert set(ROWS) == set(EXPECTED) == of_rows


@pytest.mark.parametrize("task", ROWS)
def test_rows_of_a_file_become_problems(tmp_path, task):
    found = read(task, write_jsonl(tmp_path / "rows.jsonl", ROWS[task]))
    assert len(found) == len(ROWS[task])
    assert EXPECTED[task] in found
    assert found[0].task == task


@pytest.mark.parametrize("task", ROWS)
def test_parquet_and_the_folder_of_a_data_set_give_the_same(tmp_path, task, monkeypatch):
    expected = read(task, write_jsonl(tmp_path / "rows.jsonl", ROWS[task]))
    pq.write_table(pa.Table.from_pylist(ROWS[task]), tmp_path / "rows.parquet")
    if task != "mbpp":  # its two forms share no table
        assert read(task, tmp_path / "rows.parquet") == expected
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    folder = tmp_path / "hub"
    folder.mkdir()
    write_jsonl(folder / "test.jsonl", ROWS[task])
    assert read(task, folder, configurations=("default",), split="test") == expected


@pytest.mark.parametrize("task", ROWS)
def test_what_must_not_leak_is_found_in_a_corpus(tmp_path, task):
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS[task])
    searched = Decontaminator(DecontaminationConfig(files=(path,), ngram=3))
    found = searched.match(read(task, path)[0].prompt)
    assert found is not None
    # A row of another file of the benchmark's has other columns.
    assert found.benchmark in {one.benchmark for one in find_task(task, "task").passages}


def test_humaneval_comes_with_its_package():
    found = read("humaneval")
    assert len(found) == 164
    assert found[0].problem_id == "HumanEval/0"


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("gsm8k", [("openai/gsm8k", "main", "test")]),
        (
            "math",
            [
                ("EleutherAI/hendrycks_math", subject, "test")
                for subject in (
                    "algebra",
                    "counting_and_probability",
                    "geometry",
                    "intermediate_algebra",
                    "number_theory",
                    "prealgebra",
                    "precalculus",
                )
            ],
        ),
        ("math500", [("HuggingFaceH4/MATH-500", None, "test")]),
        ("reclor", [("tasksource/reclor", None, "validation")]),
        ("mbpp", [("google-research-datasets/mbpp", "sanitized", "test")]),
    ],
)
def test_the_hub_is_asked_for_the_benchmarks_own_names(task, asked, monkeypatch):
    calls = []

    def load(name, configuration, split):
        calls.append((name, configuration, split))
        return ROWS[task][:1] if len(calls) == 1 else []

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(read(task)) == 1
    assert calls == asked


def test_logiqa_is_read_from_its_authors_repository(monkeypatch):
    def load(name, data_files, split):
        assert (name, split) == ("json", "train")
        assert data_files.endswith("/csitfun/LogiQA2.0/main/logiqa/DATA/LOGIQA/test.txt")
        return ROWS["logiqa2"]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read("logiqa2") == [EXPECTED["logiqa2"]]


def test_ids_that_the_authors_repeat_get_a_number_and_are_counted(tmp_path, capsys):
    (row,) = ROWS["logiqa2"]
    others = [
        row | {"question": "Another?"},
        row | {"id": 1},
        row | {"question": "Else?", "text": ""},
    ]
    found = read("logiqa2", write_jsonl(tmp_path / "test.txt", [row, *others]))
    names = ["logiqa2/2920", "logiqa2/2920/2", "logiqa2/1", "logiqa2/2920/3"]
    assert [problem.problem_id for problem in found] == names
    assert [problem.prompt for problem in found][1:] == [
        f"{row['text']}\n\nAnother?",
        found[0].prompt,
        "Else?",
    ]
    out = capsys.readouterr().out
    assert out == "2 rows have the id of a row before them, and a number behind it: logiqa2/2920\n"


def test_mbpp_needs_no_imports_for_its_tests():
    row = ROWS["mbpp"][1] | {"test_imports": []}
    problem = find_task("mbpp", "task").make_problem(Row(row), 0)  # pyright: ignore[reportOptionalCall]
    assert problem.reference["setup"] == ""


def test_a_hub_that_does_not_answer_is_one_error(monkeypatch):
    def load(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        UserError, match=r"openai/gsm8k cannot be loaded \(ConnectionError: no route\)"
    ):
        read("gsm8k")


def changed(task: str, **values: Any) -> list[dict[str, Any]]:
    """The task's rows with a bad second one."""
    return [ROWS[task][0], ROWS[task][0] | {"id": 1, "id_string": "v", "unique_id": "u"} | values]


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        (changed("gsm8k", question=""), "gsm8k", "lacks question"),
        (changed("gsm8k", question=7), "gsm8k", "question is no text but 7"),
        (changed("gsm8k", answer="72"), "gsm8k", "answer does not end with #### and a number"),
        (changed("gsm8k", answer="#### many"), "gsm8k", "answer does not end with ####"),
        (changed("math", solution="It is 2."), "math", r"solution has no \\boxed"),
        (changed("math", level=None), "math", "level is no identifier but None"),
        (changed("reclor", label=4), "reclor", "label is none of 0 to 3 but 4"),
        (changed("reclor", label=-1), "reclor", "label is none of 0 to 3 but -1"),
        (changed("reclor", label=None), "reclor", "label is none of 0 to 3 but None"),
        (changed("reclor", answers=[]), "reclor", "answers is no list of texts"),
        (changed("reclor", id_string="val_0"), "reclor", "is named reclor/val_0 as row 1 is"),
        (changed("mbpp", task_id=2), "mbpp", "is named mbpp/2 as row 1 is"),
        (changed("logiqa2", options="one"), "logiqa2", "options is no list of texts but 'one'"),
        (changed("humaneval", entry_point="g"), "humaneval", "prompt does not define g"),
        (changed("humaneval", test=""), "humaneval", "lacks test"),
        (changed("mbpp", test_list=[]), "mbpp", "test_list is no list of texts"),
        (changed("mbpp", code=None), "mbpp", "lacks code"),
    ],
)
def test_a_row_of_no_use_is_one_error_that_names_it(tmp_path, rows, task, message):
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError, match=rf"rows\.jsonl, row 2: {message}.*Remedy: "):
        read(task, path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "gsm8k", "input": "{folder}/nowhere.jsonl"}, "nowhere.jsonl: cannot be read"),
        ({"task": "gsm8k", "input": "{folder}/empty.jsonl"}, "holds no problem of gsm8k"),
        ({"task": "gsm8k", "input": "{folder}/empty.jsonl", "split": "test"}, "split = 'test'"),
        ({"task": "reasoning_gym", "input": "x.jsonl"}, "input = 'x.jsonl'"),
        (
            {"task": "small_programs", "puzzles": PuzzlesConfig(("chain_sum",))},
            "must not be given for small_programs, which has one generator",
        ),
        ({"task": "gsm8k", "since": "2024-01-01"}, "since = '2024-01-01': must not be given"),
    ],
)
def test_other_mistakes(tmp_path, settings, message):
    write_jsonl(tmp_path / "empty.jsonl", [])
    if "input" in settings:
        settings = settings | {"input": settings["input"].replace("{folder}", str(tmp_path))}
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        read(**settings)


def test_the_command_writes_all_or_none(tmp_path, capsys):
    output = tmp_path / "problems.jsonl"
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS["math"])
    run(ProblemsConfig(task="math", input=rows, output=str(output)))
    assert list(read_problems(str(output))) == read("math", rows)
    out = capsys.readouterr().out
    assert "level 1         1                0" in out
    assert f"2 problems -> {output}" in out
    bad = write_jsonl(tmp_path / "bad.jsonl", changed("math", solution="?"))
    with pytest.raises(UserError):
        run(ProblemsConfig(task="math", input=bad, output=str(tmp_path / "other.jsonl")))
    assert not (tmp_path / "other.jsonl").exists()


def test_problems_of_other_days_are_left_out_and_counted(tmp_path, capsys):
    dates = [
        "2024-01-31T00:00:00",
        "2024-02-01T09:00:00",
        "2024-02-29T23:00:00",
        "2024-03-01T00:00:00",
    ]
    rows = [SUM | {"question_id": f"q{n}", "contest_date": date} for n, date in enumerate(dates)]
    source, output = write_jsonl(tmp_path / "rows.jsonl", rows), str(tmp_path / "p.jsonl")
    days = ("2024-02-01", "2024-02-29")
    run(
        ProblemsConfig(
            task="livecodebench", input=source, output=output, since=days[0], until=days[1]
        )
    )
    names = [problem.problem_id for problem in read_problems(output)]
    assert names == ["livecodebench/q1", "livecodebench/q2"]
    out = capsys.readouterr().out
    assert "left out: 1 that are from before 2024-02-01\n" in out
    assert "left out: 1 that are from after 2024-02-29\n" in out
    with pytest.raises(
        UserError, match="holds no problem of livecodebench; 4 are from before 2025"
    ):
        read("livecodebench", source, since="2025-01-01")
    undated = write_jsonl(tmp_path / "undated.jsonl", [SUM | {"contest_date": "soon"}])
    with pytest.raises(UserError, match="row 1: contest_date is no date but 'soon'"):
        read("livecodebench", undated, since="2025-01-01")


def test_problems_whose_libraries_are_missing_are_left_out_and_counted(tmp_path, capsys):
    rows = [BIGCODEBENCH_ROW, BIGCODEBENCH_ROW | {"task_id": "b", "libs": "['no_such_library']"}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    run(ProblemsConfig(task="bigcodebench", input=source, output=str(tmp_path / "p.jsonl")))
    out = capsys.readouterr().out
    assert "left out: 1 that need no_such_library, which is not installed\n1 problems -> " in out


def test_puzzles_are_generated_not_read(tmp_path, capsys):
    output = str(tmp_path / "p.jsonl")
    puzzles = PuzzlesConfig(("propositional_logic", "chain_sum"), 30)
    run(ProblemsConfig(task="reasoning_gym", puzzles=puzzles, output=output))
    assert len(list(read_problems(output))) == 60
    out = capsys.readouterr().out
    assert "chain_sum                  30               30" in out
    assert "that propositional_logic gives no right answer or too few wrong ones for\n" in out


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"task = 'reasoning-gym': the package is not installed"):
        read("reasoning_gym")
