"""Judged candidates of ours: right against wrong ones of a problem, or higher against lower rewards.

A row is a problem as `evaluate judge` writes it. With `rewards`, a file that `evaluate score` wrote for it, candidates
are compared by their rewards, whether somebody has judged them or not. With `confidences`, a file of the same form, right
and wrong ones are paired by them. With `prompts`, pairs ask what the writer of the candidates was asked.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from codepmp_jax.config import RmDataConfig
from codepmp_jax.config.tasks import TASKS
from codepmp_jax.files.json_lines import json_line
from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.records.schema import Problem, content_id
from codepmp_jax.records.scores import read_scores
from codepmp_jax.rm_data.choices import entry_of
from codepmp_jax.rm_data.entries import REWARD, Answer, Entry, Reader, Reading, Source
from codepmp_jax.tasks.common.registry import find_task

NO_REWARD = "candidate has no reward"
NO_CONFIDENCE = "candidate has no confidence"


def _open(config: RmDataConfig) -> Reader:
    read = _reader(config)
    if config.prompts == "problem":
        return read

    def as_asked(row: dict[str, Any], number: int) -> Reading:
        problem, reading = _problem(row), read(row, number)
        if problem.task not in TASKS:
            raise MalformedRow("task has no template", f"task = {problem.task!r}")
        if reading.entry is not None:
            question = find_task(problem.task, "task").template.replace("{prompt}", problem.prompt)
            reading.entry = _asked(reading.entry, question, config.prompts == "conversation")
        return reading

    return as_asked


def _asked(entry: Entry, question: str, is_conversation: bool) -> Entry:
    """The entry with this question in the place of its prompt."""
    if not is_conversation:
        return dataclasses.replace(entry, prompt=question)
    answers = tuple(
        dataclasses.replace(answer, text=_message("assistant", answer.text))
        for answer in entry.answers
    )
    prompt = _message("user", question)
    return dataclasses.replace(entry, prompt=prompt, answers=answers, is_conversation=True)


def _message(role: str, text: str) -> str:
    """A conversation of one turn."""
    return json_line([{"role": role, "content": text}])


def _reader(config: RmDataConfig) -> Reader:
    if config.rewards is not None:
        return _by_rewards(config.rewards)
    if config.confidences is None:
        return lambda row, number: _judged(_problem(row))
    scores, unique = _scores(config.confidences), _Unique()

    def read(row: dict[str, Any], number: int) -> Reading:
        problem = unique(_problem(row), number)
        reading = _judged(problem)
        if reading.entry is None:
            return reading
        answers = []
        for answer in reading.entry.answers:
            score = scores.get((problem.problem_id, answer.facts["candidate"]))
            if score is None:
                reading.dropped.append(NO_CONFIDENCE)
                continue
            facts = answer.facts | {"confidence": score}
            answers.append(dataclasses.replace(answer, facts=facts))
        entry = dataclasses.replace(reading.entry, answers=tuple(answers))
        reading.entry = entry if answers else None
        return reading

    return read


def _judged(problem: Problem) -> Reading:
    """The judged candidates, with what tells whether two are the same program."""
    reading = entry_of(problem, ())
    if reading.entry is None or problem.task not in TASKS:
        return reading
    judge = find_task(problem.task, "task").judge
    try:
        judge.check_reference(problem.reference)
    except (KeyError, ValueError):  # of a file that others judged
        return reading

    def with_syntax(answer: Answer) -> Answer:
        tree = judge.syntax(problem.prompt, problem.reference, answer.text)
        return dataclasses.replace(answer, syntax=content_id(tree) if tree else "")

    answers = tuple(map(with_syntax, reading.entry.answers))
    reading.entry = dataclasses.replace(reading.entry, answers=answers)
    return reading


class _Unique:
    """Passes on problems whose ids, by which scores are found, are in no row before."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def __call__(self, problem: Problem, number: int) -> Problem:
        if problem.problem_id in self._rows:
            first = self._rows[problem.problem_id]
            raise MalformedRow(
                "problem_id is not unique", f"{problem.problem_id!r}, also in row {first}"
            )
        self._rows[problem.problem_id] = number
        return problem


def _scores(path: str) -> dict[tuple[str, int], float]:
    return {(score.item_id, score.index): score.reward for score in read_scores(path)}


def _by_rewards(path: str) -> Reader:
    rewards, unique = _scores(path), _Unique()

    def read(row: dict[str, Any], number: int) -> Reading:
        problem = unique(_problem(row), number)
        answers, reading = [], Reading(None)
        for index, candidate in enumerate(problem.candidates):
            reward = rewards.get((problem.problem_id, index))
            if reward is None:
                reading.dropped.append(NO_REWARD)
                continue
            facts: dict[str, Any] = {"candidate": index}
            if candidate.is_correct is not None:
                facts["is_correct"] = candidate.is_correct
            answers.append(Answer(candidate.response, reward, facts))
        if answers:
            reading.entry = Entry(problem.prompt, tuple(answers), REWARD, problem.subset)
        return reading

    return read


def _problem(row: dict[str, Any]) -> Problem:
    try:
        problem = Problem.from_row(row)
    except ValueError as error:
        raise MalformedRow("row is no problem with candidates", str(error)) from error
    if not problem.prompt.strip():
        raise MalformedRow("prompt is blank")
    if not problem.candidates:
        raise MalformedRow("candidates are missing")
    return problem


SOURCE = Source(open=_open)
