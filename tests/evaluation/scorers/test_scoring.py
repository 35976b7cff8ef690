import json
import random

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import (
    AccuracyConfig,
    BestOfNConfig,
    MeshConfig,
    ScoreConfig,
    ScorerConfig,
    TextsConfig,
)
from codepmp_jax.evaluation import accuracy, best_of_n
from codepmp_jax.evaluation.scorers import scoring
from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer
from codepmp_jax.evaluation.scores import read_meta
from codepmp_jax.files.journal import Journal
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem
from codepmp_jax.records.scores import read_scores
from codepmp_jax.records.shards import write_manifest, write_split
from tests.e2e.launching import command, environment
from tests.processes import Process

CPU = ScorerConfig(device="cpu", batch_tokens=64)


def write_problems(path, num_problems=6, num_candidates=5, seed=0):
    generator = random.Random(seed)

    def words(least, most):
        return " ".join(generator.choices("abcdefghijklmnop", k=generator.randint(least, most)))

    problems = [
        Problem(
            f"p{i}", words(1, 20), tuple(Candidate(words(1, 30)) for _ in range(num_candidates))
        )
        for i in range(num_problems)
    ]
    path.write_text("".join(problem.to_json() + "\n" for problem in problems))
    return problems


def config_of(model, source, output, **changes):
    return ScoreConfig(
        **{"model": str(model), "input": str(source), "output": str(output), "scorer": CPU}
        | changes
    )


def reward_of(model, *words):
    """By a scorer of its own, of one text."""
    row = np.array([model[1].index(word) for word in words], np.int32)
    ((_, rewards),) = TorchScorer.load(model[0], CPU).rewards([row])
    return rewards[0]


@pytest.fixture
def model(plain_reward_model, words):
    return plain_reward_model, words


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "candidates.jsonl"
    write_problems(path)
    return path


def test_a_score_a_text_in_order_of_the_training_text(tmp_path, model, capsys):
    problem = Problem("p", "a b", (Candidate("f"), Candidate("c d e"), Candidate("f")))
    (tmp_path / "candidates.jsonl").write_text(problem.to_json() + "\n")
    output = tmp_path / "new" / "scores.jsonl"
    scoring.run(config_of(model[0], tmp_path / "candidates.jsonl", output))
    scores = read_scores(output)
    assert [(score.item_id, score.index, score.num_tokens) for score in scores] == [
        ("p", 0, 8),
        ("p", 1, 10),
        ("p", 2, 8),
    ]
    assert (
        scores[0].reward
        == scores[2].reward
        == reward_of(model, *["Q", ":", "a", "b", "A", ":", "f"], "<eos>")
    )
    assert scores[1].reward == reward_of(
        model, *["Q", ":", "a", "b", "A", ":", "c", "d", "e"], "<eos>"
    )
    meta = read_meta(output)
    assert meta["model"] == str(model[0])
    assert (meta["num_texts"], meta["num_distinct"], meta["num_truncated"]) == (3, 2, 0)
    assert meta["num_tokens"] == 26
    assert capsys.readouterr().out == (
        "texts are written by the template 'Q : {prompt} A : {response}', then EOS, of at most 64 tokens\n"
        "3 texts of 1 problems, 2 distinct, 26 tokens (64 computed) in "
        f"{meta['seconds']:.1f} s -> {output}\n"
    )
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "scores.jsonl",
        "scores.meta.json",
    ]


def test_pairs_of_shards_and_of_files_have_the_same_scores(tmp_path, model):
    pairs = [PreferencePair(f"{i}", "a b", "c", f"d {'e ' * i}") for i in range(4)]
    names = ("prompt", "chosen", "rejected")
    write_lines(tmp_path / "pairs.jsonl", [{n: vars(pair)[n] for n in names} for pair in pairs])
    shards = write_split(tmp_path / "pairs", "heldout", pairs, 2)
    write_manifest(tmp_path / "pairs", PreferencePair, {"heldout": shards}, {})
    for name in ("pairs.jsonl", "pairs"):
        scoring.run(config_of(model[0], tmp_path / name, tmp_path / f"{name}.scores"))
    ours, theirs = (read_scores(tmp_path / f"{name}.scores") for name in ("pairs", "pairs.jsonl"))
    assert [(score.item_id, score.index) for score in ours] == [
        (str(i), index) for i in range(4) for index in (0, 1)
    ]
    assert [(s.reward, s.num_tokens) for s in ours] == [(s.reward, s.num_tokens) for s in theirs]


def test_truncation_is_on_the_right_and_counted(tmp_path, reward_model):
    rows = [{"prompt": "a b", "chosen": "c d e f g", "rejected": "c d"}]
    write_lines(tmp_path / "pairs.jsonl", rows)
    folder = reward_model(max_length=8, append_eos=False)
    scoring.run(config_of(folder, tmp_path / "pairs.jsonl", tmp_path / "scores.jsonl"))
    cut, whole = read_scores(tmp_path / "scores.jsonl")
    assert (cut.num_tokens, cut.reward) == (whole.num_tokens, whole.reward) == (8, whole.reward)
    meta = read_meta(tmp_path / "scores.jsonl")
    assert (meta["num_truncated"], meta["num_distinct"]) == (1, 1)


class Killed(Exception):
    """Stands for the end of the process."""


def test_killed_after_any_batch_it_goes_on_to_the_same_bytes(
    tmp_path, model, problems, monkeypatch
):
    scoring.run(config_of(model[0], problems, tmp_path / "whole.jsonl"))
    whole = (tmp_path / "whole.jsonl").read_bytes()
    output = tmp_path / "scores.jsonl"
    append = Journal.append
    num_kills = 0

    def append_and_die(journal, lines):
        append(journal, lines)
        with open(tmp_path / "scores.jsonl.partial" / "lines.jsonl", "ab") as file:
            file.write(b"[3, 0.12"[: num_kills % 9])
        raise Killed

    monkeypatch.setattr(Journal, "append", append_and_die)
    while not output.exists():
        try:
            scoring.run(config_of(model[0], problems, output))
        except Killed:
            num_kills += 1
            assert not output.exists()
    assert num_kills > 5
    assert output.read_bytes() == whole
    assert read_meta(output)["num_resumed"] == read_meta(output)["num_distinct"]


def test_sigkill_at_random_points_gives_the_same_bytes(tmp_path, model):
    source, output = tmp_path / "candidates.jsonl", tmp_path / "scores.jsonl"
    write_problems(source, num_problems=70, num_candidates=20)
    scoring.run(config_of(model[0], source, tmp_path / "whole.jsonl"))
    lines = tmp_path / "scores.jsonl.partial" / "lines.jsonl"
    arguments = (
        "--model",
        model[0],
        "--input",
        source,
        "--output",
        output,
        "--scorer.device",
        "cpu",
    )
    arguments += ("--scorer.batch-tokens", CPU.batch_tokens)
    generator = random.Random(0)
    for _ in range(2):
        # At a random place behind what there is.
        target = (lines.stat().st_size if lines.exists() else 0) + generator.randint(1, 20000)
        with Process(command("evaluate.py", "score", *arguments), environment()) as process:
            process.until(lambda target=target: lines.exists() and lines.stat().st_size >= target)
            process.kill()
        assert not output.exists()
    scoring.run(config_of(model[0], source, output))
    meta = read_meta(output)
    assert 0 < meta["num_resumed"] < meta["num_distinct"]
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_is_there_is_not_done_again_and_not_overwritten(tmp_path, model, problems, capsys):
    output = tmp_path / "scores.jsonl"
    config = config_of(model[0], problems, output)
    scoring.run(config)
    before = output.stat().st_mtime_ns
    capsys.readouterr()
    scoring.run(config)
    assert f"{output}: was written before" in capsys.readouterr().out
    changes = {"scorer": ScorerConfig(device="cpu", batch_tokens=32)}
    with pytest.raises(UserError, match="exists, and was not made by this command"):
        scoring.run(config_of(model[0], problems, output, **changes))
    write_problems(problems, seed=1)
    with pytest.raises(UserError, match="exists, and was not made by this command"):
        scoring.run(config)
    assert output.stat().st_mtime_ns == before


def test_a_begun_file_is_not_gone_on_with_by_another_model(
    tmp_path, reward_model, problems, monkeypatch
):
    folder = reward_model()
    output = tmp_path / "scores.jsonl"
    append = Journal.append

    def append_and_die(journal, lines):
        append(journal, lines)
        raise Killed

    monkeypatch.setattr(Journal, "append", append_and_die)
    with pytest.raises(Killed):
        scoring.run(config_of(folder, problems, output))
    monkeypatch.undo()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["score.weight"] *= 2
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"score_head_sha256 was .*, is .*Remedy: give another output"
    ):
        scoring.run(config_of(folder, problems, output))


def test_rewards_that_are_no_numbers_name_the_text(tmp_path, reward_model, problems):
    folder = reward_model()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["score.weight"].fill_(float("nan"))
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"p\d, text \d: reward = nan: must be finite"):
        scoring.run(config_of(folder, problems, tmp_path / "scores.jsonl"))
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_text_without_tokens_is_refused(tmp_path, reward_model):
    write_lines(
        tmp_path / "pairs.jsonl", [{"id": 7, "prompt": " ", "chosen": "a", "rejected": " "}]
    )
    folder = reward_model(append_eos=False)
    settings = json.loads((folder / "codepmp_jax.json").read_text())
    settings["config"]["data"]["template"] = "{prompt}{response}"
    (folder / "codepmp_jax.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="7, text 1: has no tokens"):
        scoring.run(config_of(folder, tmp_path / "pairs.jsonl", tmp_path / "scores.jsonl"))


def trained_on_conversations(folder):
    """The folder, as of a run on conversations whose template refuses the answer z."""
    path = folder / "codepmp_jax.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "conversation"}))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.content == 'z' %}{{ raise_exception('No z.') }}{% endif %}"
        "{{ m.role == 'user' and 'Q : ' or ' A : ' }}{{ m.content }}{% endfor %}"
    )
    return folder


def test_problems_are_written_as_the_conversations_of_training(tmp_path, reward_model, model):
    folder = trained_on_conversations(reward_model())
    problem = Problem("p", "a b", (Candidate("f"), Candidate("c d e")))
    (tmp_path / "candidates.jsonl").write_text(problem.to_json() + "\n")
    scoring.run(config_of(folder, tmp_path / "candidates.jsonl", tmp_path / "scores.jsonl"))
    rewards = [score.reward for score in read_scores(tmp_path / "scores.jsonl")]
    assert rewards == [
        reward_of(model, *f"Q : a b A : {answer}".split(), "<eos>") for answer in ("f", "c d e")
    ]
    texts = TextsConfig(template="{prompt} {response}")
    scoring.run(
        config_of(folder, tmp_path / "candidates.jsonl", tmp_path / "others.jsonl", texts=texts)
    )
    assert read_scores(tmp_path / "others.jsonl")[0].reward == reward_of(
        model, "a", "b", "f", "<eos>"
    )


def test_refused_items_are_left_out_counted_and_named(tmp_path, reward_model, capsys):
    folder = trained_on_conversations(reward_model())
    rows = [{"id": i, "prompt": "a b", "chosen": "c", "rejected": "zd"[i % 2]} for i in range(4)]
    write_lines(tmp_path / "pairs.jsonl", rows)
    scores = tmp_path / "scores.jsonl"
    scoring.run(config_of(folder, tmp_path / "pairs.jsonl", scores))
    assert {score.item_id for score in read_scores(scores)} == {"1", "3"}
    meta = read_meta(scores)
    assert meta["refused"] == dict.fromkeys(("0", "2"), "refused: No z.")
    assert (meta["num_refused"], meta["num_rewritten"], meta["num_items"]) == (2, 2, 4)
    assert "2 pairs left out (refused: No z. (2))" in capsys.readouterr().out
    accuracy.run(
        AccuracyConfig(
            pairs=str(tmp_path / "pairs.jsonl"), scores=str(scores), output=str(tmp_path / "out")
        )
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["num_pairs"], report["num_refused"], report["num_unused_scores"]) == (2, 2, 0)
    assert "2 pairs are left out" in capsys.readouterr().out
    write_lines(tmp_path / "pairs.jsonl", rows[::2])
    with pytest.raises(UserError, match=r"none of its 2 items can be scored; 0, refused: No z"):
        scoring.run(config_of(folder, tmp_path / "pairs.jsonl", tmp_path / "none.jsonl"))


def test_problems_with_a_refused_candidate_are_left_out_of_best_of_n(
    tmp_path, reward_model, capsys
):
    folder = trained_on_conversations(reward_model())
    answers = [("f", "g"), ("f", "z")]
    problems = [
        Problem(f"p{i}", "a b", tuple(Candidate(a, a == "f") for a in pair))
        for i, pair in enumerate(answers)
    ]
    source = tmp_path / "candidates.jsonl"
    source.write_text("".join(problem.to_json() + "\n" for problem in problems))
    scoring.run(config_of(folder, source, tmp_path / "scores.jsonl"))
    best_of_n.run(
        BestOfNConfig(
            candidates=str(source),
            scores=str(tmp_path / "scores.jsonl"),
            output=str(tmp_path / "out"),
        )
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["num_problems"], report["num_refused"]) == (1, 1)
    assert "1 problems are left out" in capsys.readouterr().out


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(UserError, match="model = '': must be given"):
        scoring.run(ScoreConfig())
    with pytest.raises(UserError, match="must be jax with --step or --mesh"):
        ScoreConfig(step=3)
    with pytest.raises(UserError, match="must be jax with --step or --mesh"):
        ScoreConfig(mesh=MeshConfig(tensor=2))
    with pytest.raises(UserError, match=r"scorer\.device"):
        ScoreConfig(backend="jax", scorer=ScorerConfig(device="cpu"))
    with pytest.raises(UserError, match=r"scorer\.batch_tokens = 0"):
        ScorerConfig(batch_tokens=0)
