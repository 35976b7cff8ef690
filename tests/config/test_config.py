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
        (config.CorpusConfig, {"min_lines": 0}, "min_lines = 0: must be positive"),
        (config.CorpusConfig, {"max_lines": 2}, r"max_lines = 2: must be at least min_lines \(3\)"),
        (
            config.CorpusConfig,
            {"heldout_fraction": 1.0},
            "heldout_fraction = 1.0: must lie strictly",
        ),
        (config.NgramConfig, {"order": 1}, "ngram.order = 1: must be at least 2"),
        (config.NgramConfig, {"rates": ()}, r"ngram.rates = \(\): must be one or more"),
        (config.NgramConfig, {"rates": (0.2, 1.5)}, r"ngram.rates = \(0.2, 1.5\)"),
        (config.CandidatesConfig, {"num_candidates": 1}, "num_candidates = 1: must be at least 2"),
        (config.ImportConfig, {"records_per_shard": 0}, "records_per_shard = 0: must be"),
        (config.ModelConfig, {"num_kv_heads": 3}, "model.num_kv_heads = 3: must divide"),
        (config.ModelConfig, {"family": "?"}, r"model.family = '\?': must be one of"),
        (config.ModelConfig, {"head_dim": 15}, "model.head_dim = 15: must be even"),
        (config.ModelConfig, {"score_init_std": -1.0}, "model.score_init_std = -1.0: must not"),
        (
            config.ModelConfig,
            {"family": "mistral", "sliding_window": 0},
            "model.sliding_window = 0",
        ),
        (config.ModelConfig, {"sliding_window": 8}, "model.sliding_window = 8: must be left out"),
        (
            config.ModelConfig,
            {"family": "mistral", "logit_soft_cap": 30.0},
            "model.logit_soft_cap = 30.0: must be left out in the family mistral",
        ),
        (config.RopeScalingConfig, {"factor": 0.5}, r"model.rope_scaling.factor = 0.5"),
        (
            config.RopeScalingConfig,
            {"low_freq_factor": 4.0},
            r"high_freq_factor = 4.0: must be above",
        ),
        (config.DataConfig, {"template": "{prompt}"}, "data.template = '{prompt}': must hold"),
        (config.DataConfig, {"template": "{response} {prompt}"}, "data.template"),
        (config.DataConfig, {"template": "{prompt}{response}."}, "data.template"),
        (config.DataConfig, {"max_length": 1}, "data.max_length = 1: must be at least 2"),
        (config.DataConfig, {"num_workers": -1}, "data.num_workers = -1: must not be negative"),
        (config.PmpConfig, {"lm_coef": -1.0}, "loss.lm_coef = -1.0: must not be negative"),
        (config.PmpConfig, {"rm_coef": 0.0, "lm_coef": 0.0}, "must not be 0 together"),
        (config.OptimizerConfig, {"learning_rate": 0.0}, "optimizer.learning_rate = 0.0"),
        (config.OptimizerConfig, {"beta2": 1.0}, r"optimizer.beta2 = 1.0: must lie in \[0, 1\)"),
        (config.OptimizerConfig, {"warmup_fraction": 1.1}, "optimizer.warmup_fraction = 1.1"),
        (
            config.OptimizerConfig,
            {"schedule": "wsd", "warmup_fraction": 0.6, "decay_fraction": 0.6},
            r"optimizer.decay_fraction = 0.6: must leave room for the warmup \(0.6\)",
        ),
        (config.MeshConfig, {"tensor": 0}, "mesh.tensor = 0: must be positive, or -1"),
        (config.MeshConfig, {"data": -1}, r"mesh = \(-1, -1, 1\): only one axis can be -1"),
        (config.CheckpointConfig, {"keep": 0}, "checkpoint.keep = 0: must be positive"),
        (config.DataConfig, {"row_length": 2048}, "data.row_length = 2048: must not be given with"),
        (
            config.DataConfig,
            {"layout": "packed", "row_length": 3},
            "data.row_length = 3: must be at",
        ),
        (
            config.DataConfig,
            {"layout": "shared", "padding_side": "left"},
            "data.padding_side = 'left': must be right with the layout shared",
        ),
        (config.DataConfig, {"num_streams": 0}, "data.num_streams = 0: must be positive"),
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
        (config.TrainConfig, {"num_steps": 0}, "num_steps = 0: must be positive"),
        (
            config.TrainConfig,
            {
                "global_batch_rows": 6,
                "loss": config.PmpConfig(lm_reduction="micro_batch_mean"),
            },
            r"loss.lm_micro_batch_pairs = 4: must divide global_batch_rows \(6\)",
        ),
        (config.ScorerConfig, {"batch_tokens": 0}, "scorer.batch_tokens = 0: must be positive"),
        (config.VotesConfig, {"temperature": 0.0}, "votes.temperature = 0.0: must be positive and"),
        (config.VotesConfig, {"num_draws": 1}, "votes.num_draws = 1: must be at least 2"),
        (config.ResamplingConfig, {"num_resamples": 0}, "resampling.num_resamples = 0: must be"),
        (
            config.ReportConfig,
            {"inputs": ("a", "b"), "names": ("x",)},
            r"names = \['x'\]: must be as many as the inputs, 2, or none",
        ),
    ],
)
def test_broken_rules_name_path_value_rule_and_remedy(config_type, settings, message):
    with pytest.raises(UserError, match=f"{message}.* Remedy: "):
        config_type(**settings)


def test_a_wrong_family_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"'lama': must be one of .* Remedy: give llama, the near"):
        config.ModelConfig(family="lama")
