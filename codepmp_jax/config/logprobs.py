"""Log-probs of pairs under a model."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, PositiveInt, Remedy, StorePath
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.mesh import MeshConfig
from codepmp_jax.config.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class LogProbsConfig(Config):
    """Pair shards -> log p of every response token under a model: what training compares a policy with."""

    model: str = ""
    """Model whose log-probs they are: a Hugging Face folder or hub name, or (jax) a training run, local or gs://, of
    which the newest checkpoint is taken."""
    backend: Literal["jax", "torch"] = "jax"
    """`jax`: on the device or devices that there are, on all hosts of a pod. `torch`: PyTorch, from a Hugging Face
    folder."""
    input: StorePath = "runs/pairs"
    """Folder of pair shards; all its splits are read."""
    output: StorePath = "runs/logprobs"
    """Folder to write to. The same command resumes there after a kill."""
    data: DataConfig = DataConfig(layout="shared")
    """How texts are written and cut, and their rows: as the training that reads the log-probs has it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations and matmuls; log-probs are float32. With the policy's model.compute_dtype the first step of a
    policy that begins as this model has rewards nearest to 0."""
    batch_rows: PositiveInt | None = None
    """Rows computed at once, over all devices; by default one a device on CPUs, and as many as have 16384 tokens a
    device elsewhere."""
    chunk_tokens: PositiveInt = 1024
    """Tokens per device whose logits are computed at once (jax)."""
    pairs_per_part: Annotated[PositiveInt, Remedy("4096 take minutes")] = 4096
    """Pairs per file of the output; a kill costs the work on one."""
    mesh: MeshConfig = MeshConfig()
    """Layout of the devices (jax)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.data.input == DataConfig.input and not self.data.mixture,
            "data.input",
            self.data.input,
            "must be left out here",
            "give --input FOLDER; of a mixture, one folder of log-probs a source",
        )
        require(
            self.backend == "jax" or self.mesh == MeshConfig(),
            "backend",
            self.backend,
            "must be jax with --mesh, which divides a model over devices",
            "give --backend jax, or leave it out",
        )

    PRESET: ClassVar[type[TrainConfig]] = TrainConfig

    @classmethod
    def of_preset(cls, training: TrainConfig) -> LogProbsConfig:
        """What a training needs: its pairs, written, cut and computed as it does."""
        return cls(
            input=training.data.input,
            data=dataclasses.replace(
                training.data, input=DataConfig.input, mixture=(), max_pairs=None
            ),
            dtype=training.model.compute_dtype,
            mesh=training.mesh,
        )
