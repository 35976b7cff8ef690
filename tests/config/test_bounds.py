"""The bounds that settings carry in their types, found by introspection."""

import dataclasses
import json
import math
import types
import typing

import annotated_types
import pytest

from codepmp_jax import config
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import base, presets

CONFIGS = [
    kind
    for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, config.Config) and dataclasses.is_dataclass(kind)
]
# What else must be set for the edge of a bound to agree with the rules across settings.
COMPANIONS = {
    "data.row_length": {"layout": "packed"},
    "data.row_labels": {"layout": "packed", "max_length": 2},
    "checkpoint.keep_every_steps": {"every_steps": 1},
    "lora.alpha": {"rank": 1},
    "optimizer.decay_steps": {"schedule": "wsd"},
    "model.num_heads": {"num_kv_heads": 1},
    "model.sliding_window": {"family": "mistral"},
    "model.attention_soft_cap": {"family": "gemma2"},
    "model.logit_soft_cap": {"family": "gemma2"},
    "model.query_scale": {"family": "gemma2"},
    "rewards": {"source": "candidates"},
    "confidences": {"source": "candidates", "pairing": "most_confident"},
    "limits.queued_texts": {"texts": 1},
}
# Values that follow and break each rule that is no bound.
_PATHS = (["run", "/pairs"], ["s3://bucket/pairs"])
RULES = {
    **dict.fromkeys(
        (
            *(
                "input",
                "output",
                "pairs",
                "scores",
                "candidates",
                "run",
                "runs",
                "rewards",
                "confidences",
                "model",
            ),
            *("problems", "heldout"),
        ),
        _PATHS,
    ),
    "policies": ([(), ("run", "/a")], [("s3://bucket/a",), ("run", "s3://bucket/a")]),
    "loss.reference": (["gs://bucket/a", "/a", ""], ["s3://bucket/a"]),
    "loss.references": ([(), ("gs://bucket/a", "/a")], [("/a", "s3://bucket/a")]),
    "texts.template": ([None, "{prompt}{response}"], ["{prompt}", "{response}{prompt}"]),
    "decay_from": (
        [None, "runs/a@5", "gs://bucket/run@x@100", "/a b/@0"],
        ["runs/a", "@5", "runs/a@", "runs/a@x", "runs/a@-1", "runs/a@5/", "s3://bucket/a@5", ""],
    ),
    "data.input": (["gs://bucket/pairs", "/pairs"], ["s3://bucket/pairs"]),
    "data.mixture": ([(), ("a=/pairs:1",)], [("/pairs",), ("a=/pairs:1", "b=/pairs")]),
    "workdir": (["gs://bucket/run", "run"], ["s3://bucket/run"]),
    "data.template": (
        ["{prompt}{response}"],
        ["{prompt}", "{response} {prompt}", "{prompt}{response}.", "{prompt}{prompt}{response}"],
    ),
    **dict.fromkeys(
        ("data.date", "since", "until"),
        ([None, "2024-02-29"], ["2023-02-29", "2024-7-26", "20240726", "today", ""]),
    ),
    "compiler_options": ([(), ("xla_a=b",)], [("xla_a",), ("xla_a=b", "a=b")]),
    "mesh.data": ([1], [0, -2]),
    "mesh.fsdp": ([-1, 1], [0, -2]),
    "mesh.tensor": ([1], [0, -2]),
    "profile.steps": ([None, "1:1", "20:24"], ["0:3", "4:3", "4", ""]),
    "puzzles.datasets": ([("a", "b")], [(), ("a", "a")]),
    "puzzles.num_candidates": ([0, 2], [1, -1]),
    "gate.max_length_ratio": ([0.0, 1.0], [0.5, -1.0, math.nan, math.inf]),
    "openai.endpoints": ([("http://a",)], [(), ("http://a", "b")]),
    "push_to_hub": ([None, "a/b", "a-b/c.d_e"], ["a", "a/b/c", "a/", ""]),
    "worker": (["0/1", "3/4"], ["1/1", "0/0", "-1/2", "1", "a/b"]),
    "template": (["", "{prompt}"], ["no place for it"]),
    "name": (["a", "pmp-7b", "a" * 28], ["", "a" * 29, "Pmp", "pmp_7b", "7b", "pmp-"]),
    "env": ([(), ("A=", "B=c=d")], [("A",), ("1A=b",), ("A=b", "")]),
    "node_selectors": ([(), ("a.b/c=d", "e=")], [("a",), ("=a",), ("a b=c",)]),
}


def paths(kind):
    """(dotted path, name, type) of each setting of a config that has bounds or rules."""
    for name, hint in base.bounded(kind).items():
        yield f"{kind.section}.{name}".lstrip("."), name, hint


def numbers(hint):
    """(type, bounds, wrap) of each bounded number within a type; `wrap` makes a value of the whole type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        bounds = [entry for entry in args[1:] if isinstance(entry, annotated_types.BaseMetadata)]
        if args[0] in (int, float) and bounds:
            yield args[0], bounds, lambda value: value
        else:
            yield from numbers(args[0])
    elif origin in (typing.Union, types.UnionType):
        for arg in args:
            yield from numbers(arg)
    elif origin is tuple:
        for kind, bounds, wrap in numbers(args[0]):
            yield kind, bounds, lambda value, wrap=wrap: (wrap(value),)


def edges(kind, bound):
    """(last value within a bound of a number, first value beyond it)."""

    def after(value, direction):
        return value + direction if kind is int else math.nextafter(value, direction * math.inf)

    match bound:
        case annotated_types.Gt(gt):
            return after(gt, 1), kind(gt)
        case annotated_types.Ge(ge):
            return kind(ge), after(ge, -1)
        case annotated_types.Lt(lt):
            return after(lt, -1), kind(lt)
        case annotated_types.Le(le):
            return kind(le), after(le, 1)
        case annotated_types.MultipleOf(multiple_of):
            return multiple_of, kind(multiple_of) + 1
    raise AssertionError(f"no edge known of {bound}")


BOUNDED = [
    pytest.param(kind, path, name, hint, id=f"{kind.__name__}-{path}")
    for kind in CONFIGS
    for path, name, hint in paths(kind)
    if list(numbers(hint))
]
RULED = [
    pytest.param(kind, path, name, id=f"{kind.__name__}-{path}")
    for kind in CONFIGS
    for path, name, hint in paths(kind)
    if any(isinstance(entry, base.Rule) for entry in base.metadata(hint))
]


def assert_refused(kind, path, name, value):
    """However the config is made, the message names path, value, rule and remedy; JSON's its source too."""
    made = kind()
    with pytest.raises(UserError) as constructed:
        kind(**{name: value})
    with pytest.raises(UserError) as replaced:
        dataclasses.replace(made, **{name: value})
    assert str(replaced.value) == str(constructed.value)
    # A value of a tuple is named by its place.
    assert str(constructed.value).startswith((f"{path} = {value!r}: ", f"{path}."))
    assert "Remedy: " in str(constructed.value)
    assert_refused_in_json(kind, path, name, value)


def assert_refused_in_json(kind, path, name, value):
    with pytest.raises(UserError) as read:
        presets.from_json(kind, json.loads(json.dumps({name: value})), "run.json")
    assert str(read.value).replace("[", "(").startswith(f"run.json: {path}")


@pytest.mark.parametrize(("kind", "path", "name", "hint"), BOUNDED)
def test_the_edge_of_a_bound_is_accepted_and_the_value_beyond_is_not(kind, path, name, hint):
    for number, bounds, wrap in numbers(hint):
        for bound in bounds:
            within, beyond = edges(number, bound)
            made = kind(**COMPANIONS.get(path, {}), **{name: wrap(within)})
            assert getattr(made, name) == wrap(within)
            assert presets.from_json(kind, presets.to_json(made), "run.json") == made
            assert_refused(kind, path, name, wrap(beyond))
        # Python's other wrong types meet the type checker of these tests before they meet the config.
        for other in (math.nan, math.inf, -math.inf) if number is float else (True,):
            assert_refused(kind, path, name, wrap(other))
        for other in ("1", True, *((2.5,) if number is int else ())):
            assert_refused_in_json(kind, path, name, wrap(other))


@pytest.mark.parametrize(("kind", "path", "name"), RULED)
def test_other_rules_of_one_setting_hold(kind, path, name):
    followed, broken = RULES[path]
    for value in followed:
        companions = COMPANIONS.get(path, {})
        if kind is config.MeshConfig and name != "fsdp":
            companions = {"fsdp": 1}
        assert getattr(kind(**companions, **{name: value}), name) == value
    for value in broken:
        assert_refused(kind, path, name, value)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_tuples_with_a_fewest_length_are_not_empty(kind):
    for path, name, hint in paths(kind):
        if any(isinstance(entry, annotated_types.MinLen) for entry in base.metadata(hint)):
            assert_refused(kind, path, name, ())


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_section_is_where_the_config_is(kind):
    """Messages name the path of a setting within the stage, or within its writer."""

    def visit(value, path):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, config.Config):
                where = [*path, field.name]
                if base.bounded(type(inner)):
                    section = inner.section.split(".")
                    assert where[-len(section) :] == section
                visit(inner, where)

    visit(kind(), kind.section.split(".") if kind.section else [])


def test_a_path_in_json_names_the_writer():
    value = {"rejected": {"ngram": {"rates": [0.1, 1.5]}}}
    with pytest.raises(
        UserError, match=r"x: rejected\.ngram\.rates\.1 = 1\.5: must be .*Remedy: try"
    ):
        presets.from_json(config.SynthesisConfig, value, "x")


def test_the_command_line_is_checked(capsys):
    argv = ["--optimizer.learning-rate", "nan"]
    with pytest.raises(SystemExit):
        presets.parse(config.TrainConfig, "Trains.", argv)
    captured = capsys.readouterr()
    assert "optimizer.learning_rate = nan: must be" in captured.out + captured.err


def test_outputs_on_a_disk_only_are_refused_in_a_bucket():
    for kind in (
        config.ScoreConfig,
        config.BestOfNConfig,
        config.SynthesisConfig,
        config.JudgeConfig,
    ):
        with pytest.raises(
            UserError, match=r"output = 'gs://b/o': must be a path on a disk\. Remedy"
        ):
            kind(output="gs://b/o")
