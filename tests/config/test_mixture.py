"""What data.mixture takes, and what weights become."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, TrainConfig, presets
from codepmp_jax.config.mixture import Source, proportions, sources_of


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ("math=runs/math:2", ("math", "runs/math", 2)),
        ("a=gs://bucket/pairs:0.25", ("a", "gs://bucket/pairs", 0.25)),
        ("a=gs://bucket/a:b:1", ("a", "gs://bucket/a:b", 1)),
        ("a.b_c-1=/x=y/z:3", ("a.b_c-1", "/x=y/z", 3)),
        ("a=~/my pairs:1e-3", ("a", "~/my pairs", 1e-3)),
        ("a=x:.5", ("a", "x", 0.5)),
        ("a=x:5.", ("a", "x", 5)),
    ],
)
def test_an_entry_is_read_from_both_ends(entry, source):
    assert DataConfig(mixture=(entry,)).sources == (Source(*source),)
    assert DataConfig(mixture=(entry,)).folders == (source[1],)


@pytest.mark.parametrize(
    "entry",
    [
        "runs/math",
        "math=runs/math",
        "math=gs://bucket/math",
        "runs/math:2",
        "=runs/math:2",
        "math=:2",
        "ma th=x:1",
        "ma/th=x:1",
        "math=x:",
        "math=x:0",
        "math=x:0.0",
        "math=x:-1",
        "math=x:nan",
        "math=x:inf",
        "math=x:1e999",
        "math=x:1_000",
        "math=x: 1",
        "math=x:50%",
        "math=s3://bucket/x:1",
        "math=x:1\n",
        "",
    ],
)
def test_anything_else_is_one_clear_error(entry):
    with pytest.raises(
        UserError, match=r"data\.mixture.*must be NAME=FOLDER:WEIGHT.*Remedy: e\.g\."
    ):
        DataConfig(mixture=("other=y:1", entry))


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (("a=x:1", "a=y:1"), r"two sources of one name \(a\).*rename"),
        (("a=x:1", "b=x/:1"), r"two sources of one folder \(x\).*sum of the weights"),
        (("a=x:1", "b=y:1000001"), "largest is at most 1000000 times"),
        (("a=x:1e-300", "b=y:1e300"), "largest is at most 1000000 times"),
    ],
)
def test_sources_must_differ_and_be_comparable(entries, named):
    with pytest.raises(UserError, match=rf"data\.mixture = .*{named}"):
        DataConfig(mixture=entries)


def test_an_input_beside_a_mixture_is_refused_and_the_remedies_work():
    with pytest.raises(UserError, match=r"data\.input = 'z'.*--data\.input runs/pairs"):
        DataConfig(input="z", mixture=("a=x:1",))
    argv = ["--data.mixture", "a=x:1", "b=y:2"]
    preset = TrainConfig(data=DataConfig(input="z"))
    config = presets.parse(TrainConfig, "", [*argv, "--data.input", "runs/pairs"], default=preset)
    assert config.data.folders == ("x", "y")
    assert DataConfig(mixture=("a=x:1", "b=z:1")).folders == ("x", "z")
    assert DataConfig(input="z").folders == ("z",)


def test_a_number_of_pairs_beside_a_mixture_is_refused():
    with pytest.raises(UserError, match=r"data\.max_pairs = 9: .*data\.mixture.*leave it out"):
        DataConfig(max_pairs=9, mixture=("a=x:1",))
    DataConfig(max_pairs=9)


def test_each_source_needs_a_pair_to_be_evaluated_on():
    data = DataConfig(mixture=("a=x:1", "b=y:2", "c=z:1"))
    with pytest.raises(UserError, match=r"eval_pairs = 2: .*number of sources.*\(3\)"):
        TrainConfig(data=data, eval_pairs=2)
    for remedy in (0, 3):
        TrainConfig(data=data, eval_pairs=remedy)


def test_the_order_of_the_sources_does_not_matter():
    entries = ("b=y:1", "a=x:3", "c=z:2")
    config = DataConfig(mixture=entries)
    assert [source.name for source in config.sources] == ["a", "b", "c"]
    assert config.sources == dataclasses.replace(config, mixture=entries[::-1]).sources


@given(st.lists(st.floats(1e-2, 1e3), min_size=1, max_size=6))
def test_shares_are_those_of_the_weights_to_half_a_percent(weights):
    found = proportions([Source(str(i), str(i), weight) for i, weight in enumerate(weights)])
    assert min(found.values()) == 100
    shares = [found[str(i)] / sum(found.values()) for i in range(len(weights))]
    for share, weight in zip(shares, weights, strict=True):
        # Half a hundredth of the smallest: of any weight at most half a percent, and of their sum too.
        assert math.isclose(share, weight / sum(weights), rel_tol=0.0101)
    doubled = [Source(str(i), str(i), 2 * weight) for i, weight in enumerate(weights)]
    assert proportions(doubled) == found
    assert sources_of(()) == ()
