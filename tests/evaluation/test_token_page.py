"""The page of token rewards: what it shows, and that the last token's reward is the text's."""

import json

import pytest

from codepmp_jax.config import DataConfig, ScoreConfig, TokenPageConfig
from codepmp_jax.evaluation import token_page
from codepmp_jax.evaluation.scorers.jax_scorer import JaxScorer
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config


def test_colours_and_escapes():
    response = token_page.Response("a", 0, ["<b>", " x"], [2.0, -0.5])
    text = token_page.coloured(response, 1.0)
    assert text.count("<span") == 2
    assert "&lt;b&gt;" in text
    assert "rgba(46,160,67,0.6)" in text
    assert "rgba(218,54,51,0.3)" in text
    page = token_page.page([response], "<model>")
    assert "mean 0.750, least -0.500, last -0.500" in page
    assert "&lt;model&gt;" in page


def test_a_run_and_pairs_become_lines_and_a_page(tmp_path, capsys):
    pairs = [PreferencePair(str(i), "f", "return 1", "return " + "x " * i) for i in range(3)]
    splits = {"heldout": write_split(tmp_path / "pairs", "heldout", pairs, 1)}
    write_manifest(tmp_path / "pairs", PreferencePair, splits, {})
    config = tiny_config(
        workdir=str(tmp_path / "run"),
        model__vocab_size=4096,
        data=DataConfig(input=str(tmp_path / "pairs"), max_length=32),
    )
    write_run(config)
    settings = TokenPageConfig(
        model=config.workdir,
        input=str(tmp_path / "pairs"),
        num_items=2,
        output=str(tmp_path / "out"),
    )
    token_page.run(settings)
    lines = [json.loads(line) for line in open_lines(tmp_path / "out" / "tokens.jsonl")]
    assert [(line["item_id"], line["index"]) for line in lines] == [
        ("0", 0),
        ("0", 1),
        ("1", 0),
        ("1", 1),
    ]
    assert "".join(lines[0]["pieces"]) == "return 1"
    scorer = JaxScorer.load(ScoreConfig(model=config.workdir, backend="jax"))
    texts = scorer.form.texts(pairs[0], scorer.tokenizer)
    row = scorer.tokenizer.encode(texts)[0].tokens
    ((_, (reward,)),) = scorer.rewards([row])
    assert lines[0]["rewards"][-1] == pytest.approx(float(reward), rel=1e-5)
    assert "4 responses" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


def open_lines(path):
    return path.read_text().splitlines()
