import dataclasses
import json

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import (
    AccuracyConfig,
    BestOfNConfig,
    Config,
    DataConfig,
    TrainConfig,
    presets,
)

NAMES = sorted(path.stem for path in presets.CONFIGS.glob("*.py"))


# Task -> (learning rate of 7B, warmup) in the paper's finetuning.
TASKS = {
    "mathshepherd": (3e-7, 0.03),
    "reclor": (3e-6, 0.25),
    "logiqa2": (3e-6, 0.25),
    "codeultrafeedback": (1e-6, 0.03),
}


def parse(*argv, config_type=TrainConfig):
    return presets.parse(config_type, "Trains.", argv, prog="train")


def refused(capsys, *argv):
    """What a refused command line prints, its boxes and line breaks taken out."""
    with pytest.raises(SystemExit) as exit_:
        parse(*argv)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


def changed_from(config, name):
    """The settings in which it differs from a preset."""
    theirs = dict(presets.flatten(presets.load_preset(name)))
    return {path for path, value in presets.flatten(config) if value != theirs[path]}


# --- presets and overrides ------------------------------------------------------------------------


def test_the_named_presets_are_there():
    assert {"corpus_stdlib", "synth_ngram", "candidates_ngram"} <= set(NAMES)
    assert {"pmp_tiny", "pmp_1b5", "pmp_7b", "rm_tiny"} <= set(NAMES)
    assert {"pmp_llama31_8b", "pmp_gemma2_9b", "pmp_7b_wsd"} <= set(NAMES)
    assert {f"rm_{task}_{size}" for task in TASKS for size in ("1b5", "7b")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_config_and_survives_json(name, tmp_path):
    config = presets.load_preset(name)
    assert isinstance(config, Config)
    saved = json.loads(json.dumps(presets.to_json(config)))
    assert presets.from_json(type(config), saved, name) == config
    path = tmp_path / "config.json"
    path.write_text(json.dumps(saved))
    argv = ["--config", str(path)]
    assert presets.parse(type(config), "Reads it again.", argv, prog="script") == config


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("size", "factor"), [("7b", 1), ("1b5", 3)])
def test_finetuning_presets_are_the_papers(task, size, factor):
    """And differ from task to task in learning rate, warmup and paths only."""
    config = presets.load_preset(f"rm_{task}_{size}")
    pretraining = presets.load_preset(f"pmp_{size}")
    learning_rate, warmup = TASKS[task]
    optimizer = config.optimizer
    assert optimizer.learning_rate == pytest.approx(factor * learning_rate)
    assert (optimizer.warmup_fraction, optimizer.schedule) == (warmup, "cosine")
    assert (optimizer.weight_decay, config.loss.lm_coef, config.loss.rm_coef) == (0, 0, 1)
    assert (config.global_batch_rows, config.data.layout, config.num_epochs) == (32, "padded", 1)
    assert config.data.max_length == 1024
    assert config.data.template == "Instruction:{prompt}\n\nResponse:{response}"
    assert (config.init, config.model.init_from) == ("pmp", pretraining.workdir)
    assert config.model.base == pretraining.model.init_from
    assert config.data.input == f"runs/rm_data/{task}"
    rates = {"optimizer.learning_rate", "optimizer.warmup_fraction"}
    assert changed_from(config, f"rm_reclor_{size}") <= {"workdir", "data.input"} | rates


def test_the_spaced_checkpoints_of_wsd_lie_in_its_stable_phase():
    """Of the paper's 27458 steps; all but the first few of them."""
    config = presets.load_preset("pmp_7b_wsd")
    steps = config.checkpoint.spaced_steps(round(0.9 * 27458))
    assert steps[:3] == [1000, 1189, 1414]
    assert steps[0] > 0.03 * 27458
    assert len(steps) == 19
    paths = ("workdir", "optimizer.schedule", "checkpoint.keep_spaced_from")
    assert changed_from(config, "pmp_7b") == {*paths}


def test_overrides_change_what_they_name_and_nothing_else():
    preset = parse("--config", "pmp_tiny")
    changed = parse("--config", "pmp_tiny", "--optimizer.learning-rate", "2e-6", "--seed", "7")
    assert changed == dataclasses.replace(
        preset, seed=7, optimizer=dataclasses.replace(preset.optimizer, learning_rate=2e-6)
    )


@pytest.mark.parametrize("option", [("--data.layout", "padded"), ("--data.layout=padded",)])
def test_a_layouts_own_settings_follow_the_layout(option, capsys):
    padded = parse("--config", "pmp_7b", *option)
    assert (padded.data.layout, padded.data.row_length) == ("padded", None)
    packed = parse("--config", "pmp_7b", "--data.layout", "packed")
    assert packed.data.row_length == presets.load_preset("pmp_7b").data.row_length
    with pytest.raises(SystemExit):
        parse("--config", "pmp_7b", *option, "--print-config")
    assert "* data.row_length = None   (preset: 2560)" in capsys.readouterr().out


def test_what_the_command_line_gives_of_another_layout_is_refused(capsys):
    argv = ("--config", "pmp_7b", "--data.layout", "padded", "--data.row_length", "64")
    assert "data.row_length = 64: must not be given with the layout padded" in refused(
        capsys, *argv
    )


def test_without_a_preset_the_default_holds():
    default = TrainConfig(seed=5)
    assert presets.parse(TrainConfig, "Trains.", [], default=default) == default
    assert parse() == TrainConfig()


def test_preset_from_a_python_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from codepmp_jax.config import TrainConfig\n"
        "def get_config():\n    return TrainConfig(seed=3)\n"
    )
    assert parse("--config", str(path)).seed == 3


def test_what_a_schedule_alone_has_goes_with_it():
    argv = ("--optimizer.schedule", "wsd", "--optimizer.decay-steps", "7")
    assert parse(*argv).optimizer.decay_steps == 7


def test_a_preset_may_be_replaced_by_what_the_options_name():
    """The options are laid over what takes its place."""

    def rebase(preset, given):
        assert given == {"seed": "4", "model.init_from": "a"}
        return dataclasses.replace(preset, seed=9, num_steps=3)

    argv = ["--config", "pmp_tiny", "--seed", "4", "--model.init-from=a"]
    config = presets.parse(TrainConfig, "Trains.", argv, rebase=rebase)
    assert (config.seed, config.num_steps, config.workdir) == (4, 3, "runs/pmp_tiny")


def test_print_config_marks_what_differs(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--config", "pmp_tiny", "--data.max-length", "77", "--print-config")
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    before = presets.load_preset("pmp_tiny").data.max_length
    assert f"* data.max_length = 77   (preset: {before})" in lines
    assert sum(line.startswith("*") for line in lines) == 1
    assert len(lines) == len(list(presets.flatten(TrainConfig())))


# --- mistakes -------------------------------------------------------------------------------------


def test_typo_in_an_option_names_the_nearest(capsys):
    text = refused(capsys, "--config", "pmp_tiny", "--optimizer.learning-rat", "1e-3")
    assert "--optimizer.learning-rate" in text


@pytest.mark.parametrize("typo", ["--confg", "--cofnig", "--print-confg"])
def test_typo_in_the_preset_options_names_the_nearest(typo):
    with pytest.raises(UserError, match=r"did you mean --(print-)?config"):
        parse(typo, "pmp_tiny")


def test_wrong_value_names_path_value_rule_and_remedy(capsys):
    text = refused(capsys, "--optimizer.beta1", "1.5")
    assert "optimizer.beta1 = 1.5: must be less than 1. Remedy: " in text


def test_wrong_type_names_the_option_and_the_value(capsys):
    text = refused(capsys, "--seed", "many")
    assert "--seed" in text
    assert "many" in text


def test_typo_in_a_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"no such preset; did you mean pmp_tiny\?"):
        parse("--config", "pmp_tny")


def test_preset_of_another_script_is_refused():
    with pytest.raises(UserError, match=r"is a CorpusConfig, but this script takes a TrainConfig"):
        parse("--config", "corpus_stdlib")


def test_missing_and_empty_preset_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py: no such file"):
        parse("--config", "nowhere.py")
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(UserError, match=r"has no get_config\(\)"):
        parse("--config", str(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"sead": 1}, r"run\.json: sead = 1"),
        ({"optimizer": {"beta3": 1}}, r"run\.json: optimizer\.beta3 = 1"),
        ({"seed": "1"}, r"run\.json: seed = '1'"),
        ({"data": {"max_length": 1}}, r"run\.json: data\.max_length = 1: must be greater"),
        ({"data": {"length_policy": "cut"}}, r"run\.json: data\.length_policy = 'cut'"),
        ([], r"run\.json: TrainConfig = \[\]"),
    ],
)
def test_json_is_read_strictly(value, message):
    with pytest.raises(UserError, match=message):
        presets.from_json(TrainConfig, value, "run.json")


def test_json_without_an_entry_keeps_the_default():
    assert presets.from_json(DataConfig, {"max_length": 9}, "x") == DataConfig(max_length=9)


# --- commands -------------------------------------------------------------------------------------

COMMANDS = {
    "accuracy": (AccuracyConfig, "Pairwise accuracy."),
    "best-of-n": (BestOfNConfig, "Best of N."),
}


def test_a_command_takes_its_own_config():
    name, config = presets.parse_command(COMMANDS, ["accuracy", "--split", "train"])
    assert (name, config) == ("accuracy", AccuracyConfig(split="train"))
    name, config = presets.parse_command(COMMANDS, ["best-of-n", "--scores", "file"])
    assert (name, config) == ("best-of-n", BestOfNConfig(scores="file"))


@pytest.mark.parametrize(("argv", "status"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_help_lists_the_commands(argv, status, capsys):
    with pytest.raises(SystemExit) as exit_:
        presets.parse_command(COMMANDS, argv)
    assert exit_.value.code == status
    out = capsys.readouterr().out
    assert "accuracy   Pairwise accuracy." in out
    assert "best-of-n  Best of N." in out


def test_unknown_command_names_the_nearest():
    with pytest.raises(UserError, match=r"best-of: no such command; did you mean best-of-n\?"):
        presets.parse_command(COMMANDS, ["best-of"])
    with pytest.raises(UserError, match="zzz: no such command; there are accuracy, best-of-n"):
        presets.parse_command(COMMANDS, ["zzz"])


def test_run_turns_a_user_error_into_one_line(capsys):
    def fail():
        raise UserError("seed = -1: must not be negative. Remedy: give 0.")

    with pytest.raises(SystemExit) as exit_:
        presets.run(fail)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: seed = -1: must not be negative. Remedy: give 0.\n"
