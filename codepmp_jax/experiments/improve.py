"""Rounds of writing, judging and training as one plan of commands, and what comes of it.

    OUTPUT/round0    held-out programs of the model as it was
    OUTPUT/round1    written.jsonl, judged.jsonl, pairs/, reference/, train/ (below --runs), hf/, and held-out programs
    ...
    report.json, pass_at_k.csv, rounds.csv, report.html, pass_at_k.png

The commands are steps of a grid with one cell: they are run, resumed and superseded as those of an experiment are.
"""

from __future__ import annotations

import collections
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import require
from codepmp_jax.config import (
    DpoConfig,
    ExperimentConfig,
    ImproveConfig,
    PassAtKConfig,
    TrainConfig,
    WriterConfig,
    presets,
)
from codepmp_jax.evaluation.items import read_candidates
from codepmp_jax.evaluation.pass_at_k import compare
from codepmp_jax.evaluation.reports.tables import write_csv
from codepmp_jax.experiments import experiment, improve_page
from codepmp_jax.experiments.grid import Plan, Stages
from codepmp_jax.experiments.runner import Estimate, Outcome
from codepmp_jax.experiments.states import States
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_json

_PASS_COLUMNS = (
    *("round", "k", "pass", "low", "high"),
    *("from_start", "from_start_low", "from_start_high", "from_start_p"),
    *("from_before", "from_before_low", "from_before_high", "from_before_p"),
)
_ROUND_COLUMNS = (
    *("round", "programs", "right", "problems", "all_right", "all_wrong", "pairs"),
    "reason",
)


def grid_of(config: ImproveConfig) -> ExperimentConfig:
    """The commands of all rounds. Raises UserError where the training is none of DPO."""
    needs_reference = _needs_reference(config)
    commands = _evaluation(config, 0)
    for number in range(1, config.rounds + 1):
        commands += _round(config, number, needs_reference) + _evaluation(config, number)
    return ExperimentConfig(
        output=config.output,
        runs=config.runs,
        inputs=tuple(
            f"{name}={getattr(config, name)}" for name in ("model", "problems", "heldout")
        ),
        commands=tuple(commands),
        size="",
        compare="",
        seed="",
        launcher=config.launcher,
    )


def _needs_reference(config: ImproveConfig) -> bool:
    for name in ("model", "problems", "heldout"):
        require(
            bool(getattr(config, name)),
            name,
            getattr(config, name),
            "must be given",
            "give --model FOLDER --problems FILE --heldout FILE",
        )
    training = presets.load_preset(config.training)
    if isinstance(training, dict):
        training = presets.from_json(TrainConfig, training, config.training)
    loss = getattr(training, "loss", None)
    require(
        isinstance(loss, DpoConfig),
        "training",
        config.training,
        "must be a preset of DPO or weighted DPO, which learns from pairs with one reference",
        "try dpo_code_7b, dpo_tiny or target_dpo_tiny",
    )
    assert isinstance(loss, DpoConfig)
    return loss.needs_reference


def _model(number: int) -> str:
    """The model that a round ends with."""
    return f"{{output}}/round{number}/hf" if number else "{model}"


def _evaluation(config: ImproveConfig, number: int) -> list[str]:
    """Commands that write and judge held-out programs of the model that a round ends with."""
    at = f"{{output}}/round{number}"
    return [
        f"codepmp candidates --input {{heldout}} --num-candidates {config.heldout_candidates} "
        f"--writer.model {_model(number)} {_writer(config)} --seed {config.seed} --output {at}/heldout.jsonl",
        f"codepmp evaluate judge --input {at}/heldout.jsonl --output {at}/heldout_judged.jsonl",
    ]


def _round(config: ImproveConfig, number: int, needs_reference: bool) -> list[str]:
    """Commands of a round: from the model of the round before to that of this one."""
    at, seed, before = f"{{output}}/round{number}", config.seed + number, _model(number - 1)
    most = config.max_pairs_per_problem
    reference = f"--loss.reference {at}/reference " if needs_reference else ""
    # The tokenizer is the model's, whatever the preset's model has; and a prompt is what the policy was asked.
    texts, prompts = "--data.tokenizer embedded", "conversation"
    if config.writer.chat == "never":
        texts, prompts = f"{texts} --data.template {_escaped('{prompt}{response}')}", "text"
    commands = [
        f"codepmp candidates --input {{problems}} --num-candidates {config.num_candidates} "
        f"--writer.model {before} {_writer(config)} --seed {seed} --output {at}/written.jsonl",
        f"codepmp evaluate judge --input {at}/written.jsonl --output {at}/judged.jsonl",
        f"codepmp rm-data --source candidates --input {at}/judged.jsonl --output {at}/pairs --pairing {config.pairing} "
        f"--prompts {prompts} --max-pairs-per-problem {most} --heldout-fraction 0 --paraphrases.no-near --seed {seed}",
        f"codepmp logprobs --config {shlex.quote(config.training)} {texts} {_data_options(config)} --model {before} "
        f"--input {at}/pairs --output {at}/reference",
        f"codepmp train --config {shlex.quote(config.training)} {texts} --eval-pairs 0 {_escaped(config.training_options)} "
        f"--model.init-from {before} --data.input {at}/pairs {reference}--seed {seed} "
        f"--workdir {{runs}}/round{number}/train",
        f"codepmp convert to-hf --run {{runs}}/round{number}/train --output {at}/hf",
    ]
    return commands if needs_reference else [*commands[:3], *commands[4:]]


def _writer(config: ImproveConfig) -> str:
    """The writer's settings as options."""
    usual = dict(presets.flatten(WriterConfig(sampler="ngram")))
    words: list[str] = []
    for path, value in presets.flatten(config.writer):
        if value == usual[path]:
            continue
        name = f"--writer.{path.replace('_', '-')}"
        if isinstance(value, bool) and isinstance(usual[path], bool):
            parent, _, last = name.rpartition(".")
            words.append(name if value else f"{parent}.no-{last}")
        else:
            words += [name, *map(str, value if isinstance(value, tuple) else [value])]
    return _escaped(shlex.join(words))


def _data_options(config: ImproveConfig) -> str:
    """Those of the training's options that log-probs have too: how texts are written and cut."""
    words, is_of_data = [], False
    for word in shlex.split(config.training_options):
        if word.startswith("--"):
            is_of_data = word.startswith("--data.")
        if is_of_data:
            words.append(word)
    return _escaped(shlex.join(words))


def _escaped(words: str) -> str:
    """Words in which braces stand for themselves."""
    return words.replace("{", "{{").replace("}", "}}")


def dry_run(config: ImproveConfig, stages: Stages) -> str:
    """The commands, each with whether it is done. Writes nothing."""
    grid, _ = experiment.make_plan(grid_of(config), stages)
    done = States(config.output).done(grid.steps)
    lines = [
        f"{'done' if step.place in done else 'new ':4}  $ {shlex.join(step.words)}"
        for step in grid.steps
    ]
    return "\n".join([*lines, f"{len(done)} of {len(grid.steps)} commands are done"])


def run(config: ImproveConfig, stages: Stages) -> tuple[Outcome, dict[str, Any]]:
    """Runs what is not done; how that ended, and the report, which is written too.

    Raises UserError where the settings make no loop, or the output cannot be written; a command that fails raises nothing.
    """
    settings = grid_of(config)
    grid, known = experiment.make_plan(settings, stages)
    with outputs.folder(config.output) as folder:
        states = States(config.output)
        write_json(folder / "improve.json", presets.to_json(config))
        write_json(folder / experiment.KNOWN_INPUTS, known)
        done = states.done(grid.steps)
        print(
            f"{config.rounds} rounds: {len(done)} of {len(grid.steps)} commands are done",
            flush=True,
        )
        outcome = experiment.work(settings, grid, states, _estimate(grid, states))
        return outcome, _collect(config, grid, states)


def _estimate(grid: Plan, states: States) -> Estimate:
    """Seconds of what is left, by the mean of the same commands of other rounds."""

    def seconds(places: set[str]) -> float | None:
        took: dict[str, list[float]] = collections.defaultdict(list)
        for step in grid.steps:
            state = states.read(step)
            if state and (state.status, state.identity) == ("done", step.identity):
                took[_part(step.place)].append(state.seconds)
        if not all(_part(place) in took for place in places):
            return None
        return sum((sum(took[_part(p)]) / len(took[_part(p)]) for p in places), 0.0)

    return seconds


def _part(place: str) -> str:
    """What a step is in its round, e.g. `train`."""
    return place.partition("/")[2]


# --- what comes of it -----------------------------------------------------------------------------


def _collect(config: ImproveConfig, grid: Plan, states: States) -> dict[str, Any]:
    """Writes the report of the rounds that are done."""
    folder = pathlib.Path(config.output)
    done = states.done(grid.steps)
    evaluated = [
        number
        for number in range(config.rounds + 1)
        if f"round{number}/heldout_judged.jsonl" in done
    ]
    report = {
        "title": f"Improvement {folder.resolve().name}",
        "model": config.model,
        "training": config.training,
        "rounds": [
            _written(folder, number, done)
            for number in range(1, config.rounds + 1)
            if f"round{number}/judged.jsonl" in done
        ],
        **_passed(config, evaluated),
    }
    write_csv(
        folder / "pass_at_k.csv",
        _PASS_COLUMNS,
        [[row.get(name) for name in _PASS_COLUMNS] for row in report["policies"]],
    )
    write_csv(
        folder / "rounds.csv",
        _ROUND_COLUMNS,
        [[row[name] for name in _ROUND_COLUMNS] for row in report["rounds"]],
    )
    improve_page.write(folder, report)
    write_json(folder / "report.json", report)
    return report


def _written(folder: pathlib.Path, number: int, done: set[str]) -> dict[str, Any]:
    """What a round's programs were, and how many pairs they gave; why none, if none."""
    at = folder / f"round{number}"
    judged = [
        [bool(candidate.is_correct) for candidate in problem.candidates]
        for problem in read_candidates(str(at / "judged.jsonl"))
    ]
    counts = {
        "round": number,
        "programs": sum(map(len, judged)),
        "right": sum(one for some in judged for one in some),
        "problems": len(judged),
        "all_right": sum(map(all, judged)),
        "all_wrong": sum(not any(some) for some in judged),
        "pairs": None,
        "reason": "",
    }
    if f"round{number}/pairs" in done:
        report = json.loads((at / "pairs" / "report.json").read_text(encoding="utf-8"))
        counts["pairs"] = report["splits"]["train"]["pairs"]
    elif counts["all_right"] + counts["all_wrong"] == counts["problems"]:
        counts |= {"pairs": 0, "reason": _no_pairs(counts)}
    return counts


def _no_pairs(counts: Mapping[str, Any]) -> str:
    return (
        f"round {counts['round']} leaves no pairs, and the loop ends before its training: of {counts['problems']} problems "
        f"all programs are right for {counts['all_right']} and all wrong for {counts['all_wrong']}. Remedy: give other "
        "problems, more --num-candidates, or a higher --writer.sampling.temperature"
    )


def _passed(config: ImproveConfig, rounds: Sequence[int]) -> dict[str, Any]:
    """pass@k of each round with its interval, and how far it is from the first and from the round before."""
    if not rounds:
        return {"num_problems": 0, "policies": []}
    settings = PassAtKConfig(k=config.k, resampling=config.resampling)
    problems = {
        f"round {number}": read_candidates(f"{config.output}/round{number}/heldout_judged.jsonl")
        for number in rounds
    }
    whole, _ = compare(problems, settings)
    rows = []
    for number, policy in zip(rounds, whole["policies"], strict=True):
        before: Sequence[Mapping[str, Any]] = ()
        if number > 0:
            names = [f"round {number - 1}", policy["policy"]]
            before = compare({name: problems[name] for name in names}, settings)[0]["policies"][1][
                "rows"
            ]
        for place, row in enumerate(policy["rows"]):
            low, high = row["interval"]
            found = {"round": number, "k": row["k"], "pass": row["pass"], "low": low, "high": high}
            if number > 0:
                found |= _difference("from_start", row) | _difference("from_before", before[place])
            rows.append(found)
    return {"num_problems": whole["num_problems"], "policies": rows}


def _difference(name: str, row: Mapping[str, Any]) -> dict[str, float]:
    low, high = row["difference_interval"]
    return {
        name: row["difference"],
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_p": row["p_value"],
    }
