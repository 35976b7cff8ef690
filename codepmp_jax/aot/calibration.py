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


# By chip. The runs are MaxText's: another program, of the same matmuls, on another version of the compiler.
CALIBRATIONS: dict[str, Calibration] = {}
