"""The rounds of a policy: which commands they are, what a kill costs, and what a round without pairs says.

Commands are stood in for, but for the one that makes pairs: a program is right where it is an even number.
"""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import json
import pathlib

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import main
from codepmp_jax.config import ImproveConfig, RmDataConfig, SamplingConfig, WriterConfig, presets
from codepmp_jax.data.log_probs import text_settings
from codepmp_jax.experiments import experiment, improve
from codepmp_jax.experiments.engines import Ended, Processes
from codepmp_jax.records.schema import Candidate, Problem, read_problems
from codepmp_jax.rm_data.build import build

STAGES = main.all_settings()


class Engine(Processes):
    """Writes what the commands would. A model's programs are right more often with each round."""

    def __init__(self) -> None:
        self.most = 1
        self.started: list[str] = []
        self.dies_at = ""
        self.writes = [0, 1, 2, 3]

    def start(self, words, log):
        options = dict(zip(words, [*words[1:], ""], strict=True))
        output = pathlib.Path(options.get("--output") or options["--workdir"])
        name = f"{output.parent.name}/{output.name}"
        if name == self.dies_at:
            raise KeyboardInterrupt
        self.started.append(name)
        future: concurrent.futures.Future[Ended] = concurrent.futures.Future()
        status = 0
        output.parent.mkdir(parents=True, exist_ok=True)
        if words[1] == "candidates":
            assert pathlib.Path(options["--writer.model"], "config.json").is_file()
            self.write(options, output)
        elif words[1:3] == ["evaluate", "judge"]:
            write(output, [judged(problem) for problem in read_problems(options["--input"])])
        elif words[1] == "rm-data":
            settings = {"source": "candidates", "input": options["--input"], "heldout_fraction": 0}
            try:
                build(presets.from_json(RmDataConfig, settings | {"output": str(output)}, ""))
            except UserError as error:
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text(f"error: {error}\n")
                status = 2
        else:
            output.mkdir()
            (output / "config.json").write_text("{}")
        future.set_result(Ended(status, 1.0))
        return future

    def write(self, options, output):
        number = int(options["--num-candidates"])
        start = 100 * int(options["--seed"])
        write(
            output,
            [
                dataclasses.replace(
                    problem,
                    candidates=tuple(
                        Candidate(str(start + 10 * i + self.writes[i % len(self.writes)]))
                        for i in range(number)
                    ),
                )
                for problem in read_problems(options["--input"])
            ],
        )

    def stop(self):
        pass

    def close(self):
        pass


def write(path, problems) -> None:
    path.write_text("".join(f"{problem.to_json()}\n" for problem in problems))


def judged(problem: Problem) -> Problem:
    candidates = tuple(
        dataclasses.replace(one, is_correct=int(one.response) % 2 == 0)
        for one in problem.candidates
    )
    return dataclasses.replace(problem, candidates=candidates)


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setattr(experiment, "_engine", lambda config: engine)
    return engine


@pytest.fixture
def config(tmp_path) -> ImproveConfig:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in ("problems", "heldout"):
        write(
            tmp_path / f"{name}.jsonl",
            [Problem(f"{name}/{i}", f"{name} number {i}", task="small_programs") for i in range(6)],
        )
    return ImproveConfig(
        output=str(tmp_path / "out"),
        model=str(tmp_path / "model"),
        problems=str(tmp_path / "problems.jsonl"),
        heldout=str(tmp_path / "heldout.jsonl"),
        training="dpo_tiny",
        num_candidates=4,
        heldout_candidates=4,
        k=(1, 4),
        writer=WriterConfig(
            sampler="transformers",
            chat="never",
            sampling=SamplingConfig(temperature=1.0, stop=("\n\n", "{x}")),
        ),
    )


ROUND = ("written.jsonl", "judged.jsonl", "pairs", "reference", "train", "hf")
EVALUATION = ("heldout.jsonl", "heldout_judged.jsonl")


def places(rounds: int) -> list[str]:
    found = [f"round0/{name}" for name in EVALUATION]
    return found + [
        f"round{i}/{name}" for i in range(1, rounds + 1) for name in (*ROUND, *EVALUATION)
    ]


def test_each_round_begins_with_the_policy_of_the_one_before(config):
    grid, _ = experiment.make_plan(improve.grid_of(config), STAGES)
    steps = {step.place: step for step in grid.steps}
    assert list(steps) == places(2)
    settings = steps["round2/train"].settings
    assert settings.model.init_from == "{output}/round1/hf"
    assert settings.loss.reference == "{output}/round2/reference"
    assert steps["round2/reference"].settings.model == "{output}/round1/hf"
    assert steps["round2/reference"].settings.data.append_eos == settings.data.append_eos
    assert set(steps["round2/train"].needs) == {"round1/hf", "round2/pairs", "round2/reference"}
    assert steps["round2/written.jsonl"].needs == ("round1/hf",)
    assert (
        steps["round1/written.jsonl"].settings.seed != steps["round2/written.jsonl"].settings.seed
    )
    # The same programs' seeds for every round, so that rounds are compared in pairs.
    assert len({steps[f"round{i}/heldout.jsonl"].settings.seed for i in range(3)}) == 1
    assert steps["round1/written.jsonl"].settings.writer == dataclasses.replace(
        config.writer, model="{model}"
    )


def test_the_training_s_texts_are_those_of_its_log_probs(config):
    options = "--num-epochs 2 --data.no-append-eos --seed 3"
    grid = improve.grid_of(dataclasses.replace(config, training_options=options, rounds=1))
    steps = {step.place: step for step in experiment.make_plan(grid, STAGES)[0].steps}
    training, reference = (steps[f"round1/{name}"].settings for name in ("train", "reference"))
    assert reference.data.template == training.data.template == "{prompt}{response}"
    assert steps["round1/pairs"].settings.prompts == "text"
    assert not reference.data.append_eos
    assert text_settings(reference.data) == text_settings(training.data)
    assert training.num_epochs == 2


def test_a_killed_loop_goes_on_and_more_rounds_are_added(config, engine, capsys):
    engine.dies_at = "round1/train"
    with pytest.raises(KeyboardInterrupt):
        improve.run(config, STAGES)
    engine.dies_at = ""
    outcome, report = improve.run(config, STAGES)
    assert (outcome.failed, outcome.blocked) == ([], [])
    assert engine.started == places(2)
    assert "2 rounds: 6 of 18 commands are done" in capsys.readouterr().out
    again, _ = improve.run(dataclasses.replace(config, rounds=3), STAGES)
    assert again.failed == []
    assert engine.started == places(3)
    assert "left" in capsys.readouterr().out
    assert [row["pairs"] for row in report["rounds"]] == [12, 12]


def test_the_report_compares_rounds_on_the_same_problems(config, engine):
    improve.run(config, STAGES)
    # Of the second round's policy three of four programs are right.
    path = pathlib.Path(config.output) / "round2" / "heldout_judged.jsonl"
    better = [
        dataclasses.replace(
            problem,
            candidates=tuple(
                dataclasses.replace(one, is_correct=i < 3)
                for i, one in enumerate(problem.candidates)
            ),
        )
        for problem in read_problems(str(path))
    ]
    write(path, better)
    _, report = improve.run(config, STAGES)
    rows = {(row["round"], row["k"]): row for row in report["policies"]}
    assert [rows[i, 1]["pass"] for i in range(3)] == [0.5, 0.5, 0.75]
    assert rows[2, 4]["pass"] == 1
    assert "from_start" not in rows[0, 1]
    assert (rows[1, 1]["from_start"], rows[1, 1]["from_start_p"]) == (0, 1)
    assert rows[2, 1]["from_start"] == rows[2, 1]["from_before"] == 0.25
    assert rows[2, 1]["from_before_low"] == 0.25
    folder = pathlib.Path(config.output)
    with open(folder / "pass_at_k.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["pass"] for row in table if row["k"] == "1"] == ["0.5", "0.5", "0.75"]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    assert "Held-out problems" in (folder / "report.html").read_text()
    assert (folder / "pass_at_k.png").is_file()


def test_a_round_without_pairs_says_so_and_ends_the_loop(config, engine):
    engine.writes = [0, 2]
    outcome, report = improve.run(config, STAGES)
    assert outcome.failed == ["round1/pairs"]
    (row,) = report["rounds"]
    assert (row["pairs"], row["all_right"], row["all_wrong"]) == (0, 6, 0)
    assert row["reason"].startswith(
        "round 1 leaves no pairs, and the loop ends before its training"
    )
    assert "for 6 and all wrong for 0. Remedy: give other problems" in row["reason"]
    assert row["reason"] in (pathlib.Path(config.output) / "report.html").read_text()
    # What was there is evaluated all the same.
    assert [row["round"] for row in report["policies"]] == [0, 0]
    engine.writes = [0, 1]
    pathlib.Path(config.output, "round1", "written.jsonl").unlink()
    outcome, report = improve.run(config, STAGES)
    assert outcome.failed == []
    assert [row["reason"] for row in report["rounds"]] == ["", ""]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ""}, r"model = '': must be given"),
        ({"training": "mrpo_tiny"}, r"training = 'mrpo_tiny': must be a preset of DPO"),
        ({"training": "dpo_tinny"}, r"did you mean dpo_tiny"),
        ({"training_options": "--loss.bta 1"}, r"codepmp train .* is not accepted"),
    ],
)
def test_settings_that_make_no_loop_are_refused(config, changes, said):
    with pytest.raises(UserError, match=said):
        experiment.make_plan(improve.grid_of(dataclasses.replace(config, **changes)), STAGES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": (5,)}, r"k = \(5,\): must be at most heldout_candidates"),
        ({"writer": WriterConfig(sampler="openai", model="m")}, r"writer\.sampler = 'openai'"),
        (
            {"writer": WriterConfig(sampler="vllm", chat="always", model="m")},
            r"writer\.model = 'm'",
        ),
        (
            {"writer": WriterConfig(sampler="vllm")},
            r"writer\.chat = 'auto': must be always or never",
        ),
        (
            {"training_options": "--data.template '{prompt} {response}'"},
            r"must not set --data\.template",
        ),
    ],
)
def test_settings_out_of_bounds_are_refused(config, changes, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(config, **changes)


def test_a_loss_without_a_reference_needs_no_log_probs(config, tmp_path):
    preset = tmp_path / "simpo.py"
    preset.write_text(
        "from codepmp_jax.config import DpoConfig, presets\n"
        "import dataclasses\n"
        "def get_config():\n"
        "    base = presets.load_preset('dpo_tiny')\n"
        "    return dataclasses.replace(base, loss=DpoConfig(loss_type='simpo', beta=2.0))\n"
    )
    config = dataclasses.replace(config, training=str(preset), rounds=1)
    grid, _ = experiment.make_plan(improve.grid_of(config), STAGES)
    assert [step.place for step in grid.steps] == [p for p in places(1) if "reference" not in p]


def test_a_dry_run_lists_the_commands(config):
    shown = improve.dry_run(config, STAGES)
    assert shown.count("codepmp train") == 2
    assert "0 of 18 commands are done" in shown
    assert not pathlib.Path(config.output).exists()
