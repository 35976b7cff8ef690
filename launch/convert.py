"""Converts between training runs and Hugging Face folders.

    python launch/convert.py to-hf --run WORKDIR --output FOLDER --verify

The other direction is `launch/tpu_pod.py --model.init-from FOLDER`.
"""

from __future__ import annotations

from codepmp_jax import presets, telemetry
from codepmp_jax.config import ConvertConfig
from codepmp_jax.conversion.export import to_hf


def main() -> None:
    """Parses, converts, verifies if asked to."""
    _, config = presets.parse_command(
        {"to-hf": (ConvertConfig, "Converts a training run to a Hugging Face folder.")}
    )
    telemetry.setup_logging()
    folder = to_hf(config)
    figures = ""
    if config.verify:
        from codepmp_jax.conversion.verify import verify

        errors = verify(config)
        figures = (
            f": relative error against PyTorch {errors.rewards:.1e} (rewards), "
            f"{errors.logits:.1e} (logits)"
        )
    print(f"{folder}{figures}")


if __name__ == "__main__":
    presets.run(main)
