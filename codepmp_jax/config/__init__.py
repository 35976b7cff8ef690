"""Every setting of every stage: frozen dataclasses whose bounds and arithmetic are checked on construction.

A preset (`configs/NAME.py`) builds one of the stage configs; `codepmp_jax.config.presets` turns the same
dataclasses into command-line overrides and strict JSON. The string under a field is its help text.

Enters: settings and their rules; nothing that runs a stage.
"""

from codepmp_jax.config.base import Config
from codepmp_jax.config.checkpoint import CheckpointConfig
from codepmp_jax.config.compile_check import CompileCheckConfig
from codepmp_jax.config.conversion import (
    AdapterConfig,
    ConvertConfig,
    FromGgufConfig,
    FromHfConfig,
)
from codepmp_jax.config.corpus import (
    CorpusConfig,
    DecontaminationConfig,
    DedupConfig,
    DescriptionConfig,
    FilterConfig,
    SecretsConfig,
    TokenizerConfig,
)
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.dpo import DpoConfig
from codepmp_jax.config.evaluation import (
    AccuracyConfig,
    BenchmarkConfig,
    BestOfNConfig,
    PassAtKConfig,
    ReportConfig,
    ResamplingConfig,
    VotesConfig,
)
from codepmp_jax.config.experiment import ClusterConfig, ExperimentConfig
from codepmp_jax.config.improve import ImproveConfig
from codepmp_jax.config.interchange import ExportConfig, ImportConfig
from codepmp_jax.config.launching import (
    GclusterConfig,
    JobsetConfig,
    QueuedResourceConfig,
    XpkConfig,
)
from codepmp_jax.config.lm import LmConfig
from codepmp_jax.config.logprobs import LogProbsConfig
from codepmp_jax.config.lora import LoraConfig
from codepmp_jax.config.mesh import MeshConfig
from codepmp_jax.config.model import ModelConfig, RopeScalingConfig
from codepmp_jax.config.mrpo import MrpoConfig
from codepmp_jax.config.operation import ProfileConfig, SuperviseConfig, WatchdogConfig
from codepmp_jax.config.pmp import PmpConfig
from codepmp_jax.config.quickstart import QuickstartConfig
from codepmp_jax.config.rm_data import ParaphrasesConfig, RmDataConfig
from codepmp_jax.config.scoring import (
    BaselineConfig,
    ScoreConfig,
    ScorerConfig,
    TextsConfig,
    TokenPageConfig,
)
from codepmp_jax.config.serving import LimitsConfig, ServeConfig
from codepmp_jax.config.synthesis import (
    CandidatesConfig,
    GateConfig,
    MutantConfig,
    NgramConfig,
    OpenAIConfig,
    RayConfig,
    SamplingConfig,
    SynthesisConfig,
    TransformersConfig,
    VllmConfig,
    WriterConfig,
)
from codepmp_jax.config.tasks import JudgeConfig, ProblemsConfig, PuzzlesConfig
from codepmp_jax.config.token_reward import TokenRewardConfig
from codepmp_jax.config.training import OptimizerConfig, TrainConfig
from codepmp_jax.config.weighted_dpo import WeightedDpoConfig

# PmpConfig under the name that presets of one's own may import.
LossConfig = PmpConfig

__all__ = [
    "AccuracyConfig",
    "AdapterConfig",
    "BaselineConfig",
    "BenchmarkConfig",
    "BestOfNConfig",
    "CandidatesConfig",
    "CheckpointConfig",
    "ClusterConfig",
    "CompileCheckConfig",
    "Config",
    "ConvertConfig",
    "CorpusConfig",
    "DataConfig",
    "DecontaminationConfig",
    "DedupConfig",
    "DescriptionConfig",
    "DpoConfig",
    "ExperimentConfig",
    "ExportConfig",
    "FilterConfig",
    "FromGgufConfig",
    "FromHfConfig",
    "GateConfig",
    "GclusterConfig",
    "ImportConfig",
    "ImproveConfig",
    "JobsetConfig",
    "JudgeConfig",
    "LimitsConfig",
    "LmConfig",
    "LogProbsConfig",
    "LoraConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "MrpoConfig",
    "MutantConfig",
    "NgramConfig",
    "OpenAIConfig",
    "OptimizerConfig",
    "ParaphrasesConfig",
    "PassAtKConfig",
    "PmpConfig",
    "ProblemsConfig",
    "ProfileConfig",
    "PuzzlesConfig",
    "QueuedResourceConfig",
    "QuickstartConfig",
    "RayConfig",
    "ReportConfig",
    "ResamplingConfig",
    "RmDataConfig",
    "RopeScalingConfig",
    "SamplingConfig",
    "ScoreConfig",
    "ScorerConfig",
    "SecretsConfig",
    "ServeConfig",
    "SuperviseConfig",
    "SynthesisConfig",
    "TextsConfig",
    "TokenPageConfig",
    "TokenRewardConfig",
    "TokenizerConfig",
    "TrainConfig",
    "TransformersConfig",
    "VllmConfig",
    "VotesConfig",
    "WatchdogConfig",
    "WeightedDpoConfig",
    "WriterConfig",
    "XpkConfig",
]
