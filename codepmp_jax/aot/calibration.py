"""How much longer measured steps took than this tool's bound: published runs whose shapes were compiled here.

`benchmarks/calibration.py` compiles them, and `benchmarks/results/calibration.md` has what came of it.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A measured step, and the bound of the same shapes."""

    run: str
    """What was measured, and where."""
    source: str
    """Where it was published."""
    measured_seconds: float
    bound_seconds: float

    @property
    def factor(self) -> float:
        """Measured over bound."""
        return self.measured_seconds / self.bound_seconds


# By chip, of runs whose program computes again what ours does, on the same mesh; those of v5p and v6e did otherwise. The
# run is MaxText's: another program, of the same matmuls, on another version of the compiler.
CALIBRATIONS: dict[str, Calibration] = {
    "v5e": Calibration(
        "MaxText 16B, v5e-256",
        "https://github.com/AI-Hypercomputer/maxtext/blob/main/MaxText/configs/v5e/README.md",
        measured_seconds=10.275,
        bound_seconds=10.302,
    ),
}
