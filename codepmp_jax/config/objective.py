"""What the settings of all training objectives share."""

from __future__ import annotations

from typing import Any, ClassVar

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config
from codepmp_jax.config.data import DataConfig


class ObjectiveConfig(Config, section="loss"):
    """Base of the objectives' settings. A subclass is a frozen dataclass with the field
    `objective: Literal[NAME] = NAME`, by which a saved config says which of them it holds.

    A preset chooses the objective by the type of its `loss`, whose fields then are the flags `--loss.FIELD`.
    """

    KINDS: ClassVar[dict[str, type[ObjectiveConfig]]] = {}
    """The subclasses by name."""
    objective: str
    """The objective's name."""

    def __init_subclass__(cls) -> None:
        # Not a base of several objectives.
        if "objective" in vars(cls):
            ObjectiveConfig.KINDS[cls.objective] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A field of this type holds any subclass; JSON without a name is of `pmp`."""
        from pydantic_core import core_schema

        if cls is not ObjectiveConfig:
            return handler(source)
        return core_schema.tagged_union_schema(
            {tag_of(name): handler.generate_schema(kind) for name, kind in cls.KINDS.items()},
            discriminator=lambda value: tag_of(value.get("objective", "pmp")),
            custom_error_type="objective",
            custom_error_message=f"objective must be one of {', '.join(cls.KINDS)}",
        )

    @property
    def trains_rewards(self) -> bool:
        """Whether the trained score head gives rewards."""
        raise NotImplementedError

    @property
    def method(self) -> str:
        """What the training is called, in a model card."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """What a run trained for, in a few words of a model card."""
        raise NotImplementedError

    def require_batch(self, data: DataConfig, global_batch_rows: int) -> None:
        """Raises UserError where the objective cannot be computed on such batches. By default, of pairs."""
        require(
            data.length_policy != "split",
            "data.length_policy",
            data.length_policy,
            f"must be drop or truncate with the objective {self.objective}: only documents can be divided",
            "set it to drop or truncate, or train with the objective lm",
        )


def tag_of(name: str) -> str:
    """The part of an error's location that stands for the choice of an objective, and is no field."""
    return f"({name})"
