"""LoRA: what is trained in place of the whole model."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from codepmp_jax.cli.errors import require
from codepmp_jax.cli.names import require_name
from codepmp_jax.config.base import Config, NonNegativeInt, PositiveInt, Remedy
from codepmp_jax.families.weights import LAYER_KERNELS

# The matrices of a layer, by the names of their modules at Hugging Face.
MODULES = tuple(weight.module for weight in LAYER_KERNELS)
Target = Annotated[str, tyro.conf.arg(metavar=f"{{all,{','.join(MODULES)}}}")]


@dataclasses.dataclass(frozen=True)
class LoraConfig(Config, section="lora"):
    """Low-rank adapters (arXiv 2106.09685) on matrices of a model that stays as it is.

    Trained are the adapters and, in full, the score head and the objective's own heads. Embedding, norms, biases, LM
    head and the matrices themselves are frozen; the LM loss, if it has a coefficient, trains the adapters through the
    frozen LM head.
    """

    rank: Annotated[NonNegativeInt, Remedy("0 turns LoRA off, 16 is a usual value")] = 0
    """Rank of the adapters; 0 turns LoRA off: the whole model is trained. Needs model.init_from."""
    alpha: PositiveInt = 32
    """An adapter adds alpha / rank * (x @ A) @ B to x @ W."""
    targets: tuple[Target, ...] = ("all",)
    """Matrices of every layer that get an adapter, by their names at Hugging Face; `all` of them by default."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732)."""
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the frozen matrices and biases in memory and in checkpoints. With model.compute_dtype bfloat16, `bfloat16`
    changes no number of the training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.targets:
            require(
                name != "score",
                "lora.targets",
                name,
                "needs no adapter: the score head is always trained in full",
                "leave it out",
            )
            require_name("lora.targets", name, ("all", *MODULES), "give all for all of them")
        require(
            len(self.targets) > 0,
            "lora.targets",
            self.targets,
            "must name a matrix",
            "give all, and --lora.rank 0 to train no adapter",
        )
        unused = [
            field.name
            for field in dataclasses.fields(self)
            if field.name != "rank" and getattr(self, field.name) != field.default
        ]
        require(
            self.is_on or not unused,
            "lora.rank",
            self.rank,
            f"must be above 0 where lora.{unused[0] if unused else ''} is given",
            "give --lora.rank 16, or leave the other settings of lora out",
        )

    @property
    def is_on(self) -> bool:
        """Whether adapters are trained, and not the whole model."""
        return self.rank > 0

    @property
    def modules(self) -> tuple[str, ...]:
        """The targets, each once, in the order of a layer's matrices."""
        return tuple(name for name in MODULES if {name, "all"} & {*self.targets})

    @property
    def scale(self) -> float:
        """Factor of (x @ A) @ B."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    @property
    def summary(self) -> str:
        """The adapters in a few words of a model card."""
        kind = "rsLoRA" if self.rslora else "LoRA"
        return f"{kind} of rank {self.rank} and alpha {self.alpha} on {', '.join(self.modules)}"


NO_LORA = LoraConfig()
