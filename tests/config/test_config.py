import ast
import dataclasses
import inspect
import itertools
import pathlib

import pytest

from codepmp_jax import config
from codepmp_jax.cli.errors import UserError

CONFIGS = [
    value
    for value in vars(config).values()
    if inspect.isclass(value) and issubclass(value, config.Config) and value is not config.Config
]


def test_every_setting_has_its_help():
    """The string under a field, which --help shows; a nested config has its docstring."""
    modules = pathlib.Path(config.__file__).parent.glob("*.py")
    nodes = [node for module in modules for node in ast.parse(module.read_text()).body]
    for node in (node for node in nodes if isinstance(node, ast.ClassDef)):
        assert ast.get_docstring(node), node.name
        for field, following in itertools.pairwise([*node.body, ast.Pass()]):
            if isinstance(field, ast.AnnAssign) and "Config" not in ast.unparse(field.annotation):
                has_help = isinstance(following, ast.Expr)
                assert has_help or "ClassVar" in ast.unparse(field), ast.unparse(field)


@pytest.mark.parametrize("config_type", CONFIGS, ids=lambda value: value.__name__)
def test_defaults_are_valid_and_frozen(config_type):
    made = config_type()
    assert made == config_type()
    field = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, field, None)


@pytest.mark.parametrize(
    ("config_type", "settings", "message"),
    [
        (config.CorpusConfig, {"max_lines": 2}, r"max_lines = 2: must be at least min_lines \(3\)"),
        (config.FilterConfig, {"min_tokens": 9, "max_tokens": 8}, r"filter.min_tokens = 9: .*8"),
        (config.ModelConfig, {"num_kv_heads": 3}, "model.num_kv_heads = 3: must divide"),
        (config.ModelConfig, {"sliding_window": 8}, "model.sliding_window = 8: must be left out"),
        (
            config.ModelConfig,
            {"family": "mistral", "logit_soft_cap": 30.0},
            "model.logit_soft_cap = 30.0: must be left out in the family mistral",
        ),
        (
            config.RopeScalingConfig,
            {"low_freq_factor": 4.0},
            r"model.rope_scaling.high_freq_factor = 4.0: must be above",
        ),
        (config.PmpConfig, {"rm_coef": 0.0, "lm_coef": 0.0}, "must not be 0 together"),
        (
            config.OptimizerConfig,
            {"schedule": "wsd", "warmup_fraction": 0.6, "decay_fraction": 0.6},
            r"optimizer.decay_fraction = 0.6: must leave room for the warmup \(0.6\)",
        ),
        (
            config.OptimizerConfig,
            {"decay_steps": 5},
            "optimizer.decay_steps = 5: must not be given with the schedule cosine",
        ),
        (
            config.TrainConfig,
            {"init": "pmp"},
            "model.init_from = None: must be given with init pmp",
        ),
        (config.TrainConfig, {"init": "base"}, "model.base = None: must be given with init base"),
        (config.MeshConfig, {"data": -1}, r"mesh = \(-1, -1, 1\): only one axis can be -1"),
        (
            config.CheckpointConfig,
            {"keep_every_steps": 750},
            "checkpoint.keep_every_steps = 750: must be a multiple of",
        ),
        (config.DataConfig, {"row_length": 2048}, "data.row_length = 2048: must not be given with"),
        (
            config.DataConfig,
            {"layout": "shared", "padding_side": "left"},
            "data.padding_side = 'left': must be right with the layout shared",
        ),
        (config.TrainConfig, {"accumulation_steps": 3}, "accumulation_steps = 3: must divide"),
        (
            config.TrainConfig,
            {"data": config.DataConfig(num_streams=3)},
            "data.num_streams = 3: must divide",
        ),
        (
            config.TrainConfig,
            {
                "data": config.DataConfig(layout="packed"),
                "loss": config.PmpConfig(lm_reduction="micro_batch_mean"),
            },
            "loss.lm_reduction = 'micro_batch_mean': must be token_mean with data.layout packed",
        ),
        (
            config.TrainConfig,
            {
                "global_batch_rows": 6,
                "loss": config.PmpConfig(lm_reduction="micro_batch_mean"),
            },
            r"loss.lm_micro_batch_pairs = 4: must divide global_batch_rows \(6\)",
        ),
        (
            config.SynthesisConfig,
            {"workers": 3, "ray": config.RayConfig(max_workers=2)},
            r"ray.max_workers = 2: must be at least workers \(3\)",
        ),
        (
            config.ScoreConfig,
            {"backend": "jax", "scorer": config.ScorerConfig(device="cuda")},
            "scorer.device = 'cuda': must be left out",
        ),
    ],
)
def test_broken_rules_across_settings_name_path_value_rule_and_remedy(
    config_type, settings, message
):
    with pytest.raises(UserError, match=f"{message}.* Remedy: "):
        config_type(**settings)
