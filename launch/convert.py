"""Converts between training runs and Hugging Face folders.

    python launch/convert.py to-hf --run WORKDIR --output FOLDER --verify

The other direction is `launch/tpu_pod.py --model.init-from FOLDER`.
"""

from __future__ import annotations

import pathlib

from codepmp_jax import presets, telemetry
from codepmp_jax.config import ConvertConfig, TrainConfig
from codepmp_jax.conversion.export import to_hf
from codepmp_jax.models.preference import Params


def main() -> None:
    """Parses, converts, verifies if asked to."""
    _, config = presets.parse_command(
        {"to-hf": (ConvertConfig, "Converts a training run to a Hugging Face folder.")}
    )
    telemetry.setup_logging()
    figures: list[str] = []

    def check(folder: pathlib.Path, run: TrainConfig, params: Params) -> None:
        # PyTorch is needed here only.
        from codepmp_jax.conversion.verify import verify

        errors = verify(folder, run, params, config.dtype)
        figures.append(f": relative error against PyTorch {errors}")

    folder = to_hf(config, check if config.verify else None)
    print(f"{folder}{''.join(figures)}")


if __name__ == "__main__":
    presets.run(main)
