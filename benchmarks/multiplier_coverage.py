"""How often the interval of the data multiplier holds the true one: simulated learning curves.

    python benchmarks/multiplier_coverage.py --experiments 500

A simulated experiment has two learning curves of one shape, chance to 50 + 45 points, of which one needs `multiplier`
times the pairs of the other. Each seed shifts a curve's accuracy at each size, by the seed's luck with its pairs; each
problem has its own difficulty, shared by all cells; a win is a draw. Prints a table and one line of JSON, and writes
both to `benchmarks/results/multiplier_coverage.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
from scipy.special import expit

from codepmp_jax.evaluation.statistics.crossed import Crossed
from codepmp_jax.experiments.multiplier import Multiplier, find_multiplier

SIZES = (25, 50, 100, 200, 400, 800)


@dataclasses.dataclass(frozen=True)
class World:
    """What experiments are drawn from."""

    multiplier: float = 3.0
    num_seeds: int = 5
    num_problems: int = 300
    seed_spread: float = 0.1
    """Standard deviation of a cell's log odds from seed to seed."""
    problem_spread: float = 1.0
    """Standard deviation of the log odds of problems."""
    height: float = 0.45
    """By how much accuracy rises above chance in the end."""
    middle: float = 100.0
    """Pairs with which the better curve is half up."""

    def accuracy(self, pairs: np.ndarray) -> np.ndarray:
        """Of the better curve at a number of pairs."""
        return 0.5 + self.height * expit(1.2 * np.log(pairs / self.middle))

    def experiment(self, generator: np.random.Generator) -> Crossed:
        """Wins of the reference at each size, then those of the other."""
        sizes = np.array(SIZES, float)
        means = np.concatenate([self.accuracy(sizes / self.multiplier), self.accuracy(sizes)])
        shifts = generator.normal(0, self.seed_spread, (len(means), self.num_seeds, 1))
        problems = generator.normal(0, self.problem_spread, self.num_problems)
        # Log odds at which the mean over problems is the curve's.
        nodes, weights = np.polynomial.hermite_e.hermegauss(21)
        grid = np.linspace(-1, 8, 1000)
        over = expit(grid[:, None] + self.problem_spread * nodes) @ weights / weights.sum()
        base = np.interp(means, over, grid)[:, None, None]
        wins = generator.uniform(size=(len(means), self.num_seeds, self.num_problems))
        return Crossed(
            (wins < expit(base + shifts + problems)).astype(float), np.ones(self.num_problems)
        )


def estimate(crossed: Crossed, num_resamples: int, seed: int) -> Multiplier:
    """The multiplier of a simulated experiment."""
    means = crossed.means().reshape(2, -1)
    samples = crossed.resampled_means(num_resamples, seed).reshape(num_resamples, 2, -1)
    return find_multiplier(
        np.array(SIZES), means[0], means[1], samples[:, 0], samples[:, 1], num_targets=2
    )


@dataclasses.dataclass
class Tally:
    """What came of many experiments."""

    told: int = 0
    held: int = 0
    log_estimates: list[float] = dataclasses.field(default_factory=list)
    widths: list[float] = dataclasses.field(default_factory=list)
    bounds: int = 0
    bounds_held: int = 0


def simulate(world: World, num_experiments: int, num_resamples: int, seed: int = 0) -> Tally:
    """Draws experiments, and counts how often intervals hold the true multiplier."""
    generator = np.random.default_rng(seed)
    tally = Tally()
    for number in range(num_experiments):
        found = estimate(world.experiment(generator), num_resamples, number)
        low = 0.0 if found.low is None else found.low
        high = np.inf if found.high is None else found.high
        is_held = low <= world.multiplier <= high
        if found.estimate is None:
            if found.low is not None or found.high is not None:
                tally.bounds += 1
                tally.bounds_held += is_held
            continue
        tally.told += 1
        tally.held += is_held
        tally.log_estimates.append(float(np.log(found.estimate / world.multiplier)))
        tally.widths.append(high / low if low else np.inf)
    return tally


WORLDS = {
    "as described above": World(),
    "multiplier 1": World(multiplier=1.0),
    "multiplier 1.5": World(multiplier=1.5),
    "multiplier 8": World(multiplier=8.0),
    "multiplier 30": World(multiplier=30.0),
    "2 seeds": World(num_seeds=2),
    "3 seeds": World(num_seeds=3),
    "10 seeds": World(num_seeds=10),
    "1000 problems": World(num_problems=1000),
    "100 problems": World(num_problems=100),
    "seeds differ more (0.3)": World(seed_spread=0.3),
    "3 seeds that differ more": World(num_seeds=3, seed_spread=0.3),
    "seeds do not differ": World(seed_spread=0.0),
    "curves rise by 10 points": World(height=0.1),
    "curves do not rise": World(height=0.0),
}


def row(name: str, tally: Tally, num_experiments: int) -> str:
    """A line of the table."""
    cells = [f"{tally.told / num_experiments:.0%}"]
    if tally.told:
        errors = np.array(tally.log_estimates)
        cells += [
            f"{tally.held / tally.told:.1%}",
            f"x {np.exp(errors.mean()):.2f}",
            f"x {np.exp(errors.std()):.2f}",
            f"{np.median(tally.widths):.2f}",
        ]
    else:
        cells += ["-"] * 4
    cells.append(
        f"{tally.bounds_held / tally.bounds:.1%} of {tally.bounds}" if tally.bounds else "-"
    )
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Simulates each world, then prints and writes the table."""
    from page import Page

    parser = argparse.ArgumentParser(description="Coverage of the data multiplier's interval.")
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=500)
    arguments = parser.parse_args()
    page = Page("multiplier_coverage", "Coverage of the data multiplier's interval")
    header = "| world | estimates | interval holds the truth | bias | spread | high / low, median | bounds that hold |"
    lines, figures = [header, "|---" * 7 + "|"], {}
    started = time.monotonic()
    for name, world in WORLDS.items():
        tally = simulate(world, arguments.experiments, arguments.resamples)
        lines.append(row(name, tally, arguments.experiments))
        figures[name] = {"estimates": tally.told, "held": tally.held}
        print(lines[-1], flush=True)
    note = (
        f"{arguments.experiments} experiments a line, {arguments.resamples} resamples each. First line: multiplier 3, "
        f"sizes {', '.join(map(str, SIZES))}, 5 seeds, 300 problems, log odds that differ by 0.1 from seed to seed and "
        "by 1 from problem to problem, curves that rise from 50 to 95 %. Bias and spread are factors: of the geometric "
        "mean of estimate / truth, and of its standard deviation. An interval of 95 % should hold the truth in 95 %."
    )
    page.write(note, "\n".join(lines), worlds=figures)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
