"""pass@k of policies: the chance that one of k programs solves a problem, and how far policies differ on the same
problems."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import PassAtKConfig, presets
from codepmp_jax.evaluation.items import read_candidates
from codepmp_jax.evaluation.reports import folders, plots
from codepmp_jax.evaluation.reports.tables import (
    format_table,
    percent,
    percent_interval,
    points,
    points_interval,
)
from codepmp_jax.evaluation.statistics.estimators import pass_at_n
from codepmp_jax.evaluation.statistics.resampling import (
    paired_differences,
    percentile_interval,
    resampled_means,
)
from codepmp_jax.records.schema import Problem


def pass_rates(
    problems: Sequence[Problem], k: Sequence[int], path: str
) -> Float[np.ndarray, "P K"]:
    """Unbiased pass@k of each problem (arXiv 2107.03374, equation 1).

    Raises UserError naming the first problem with fewer than max(k) candidates, or with one that nobody judged.
    """
    rates = np.zeros((len(problems), len(k)))
    for row, problem in enumerate(problems):
        judged = [candidate.is_correct for candidate in problem.candidates]
        require(
            None not in judged,
            f"{path}: problem",
            problem.problem_id,
            "has candidates that nobody judged",
            "run `codepmp evaluate judge` on the file, and give its output",
        )
        require(
            len(judged) >= max(k),
            f"{path}: problem",
            problem.problem_id,
            f"has {len(judged)} candidates, fewer than k = {max(k)}",
            "sample more, or give smaller k",
        )
        rates[row] = [pass_at_n(np.array(judged, bool), size) for size in k]
    return rates


def compare(
    problems: Mapping[str, Sequence[Problem]], config: PassAtKConfig
) -> tuple[dict[str, Any], dict[str, Float[np.ndarray, "P K"]]]:
    """The report, and the rates of each policy's problems in the order of the first policy's, by name.

    Raises UserError where two policies were given other problems.
    """
    first = next(iter(problems))
    ids = [problem.problem_id for problem in problems[first]]
    rates, policies = {}, []
    for name, some in problems.items():
        by_id = {problem.problem_id: problem for problem in some}
        other = next(iter(by_id.keys() ^ set(ids)), None)
        if other is not None:
            raise UserError(
                f"{name}: problem {other!r} is in one of {first} and {name} only. Remedy: give candidates for the same "
                "problems."
            )
        rates[name] = pass_rates([by_id[one] for one in ids], config.k, name)
        samples = resampled_means(
            rates[name], config.resampling.num_resamples, config.resampling.seed
        )
        rows = [
            {
                "k": size,
                "pass": float(column.mean()),
                "interval": list(percentile_interval(drawn)),
            }
            for size, column, drawn in zip(config.k, rates[name].T, samples.T, strict=True)
        ]
        policies.append({"policy": name, "rows": rows})
    for policy in policies[1:]:
        differences = paired_differences(
            rates[first],
            rates[policy["policy"]],
            config.resampling.num_resamples,
            config.resampling.seed,
        )
        for row, found in zip(policy["rows"], differences, strict=True):
            row |= {
                "difference": found.mean,
                "difference_interval": list(found.interval),
                "p_value": found.p_value,
            }
    report = {
        "kind": "pass_at_k",
        "benchmark": "+".join(sorted({problem.task for problem in problems[first]})),
        "num_problems": len(ids),
        "policies": policies,
    }
    return report, rates


def by_policy(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of a policy -> a report of it alone, with the figures of each k in `rows`, as `evaluate report` compares."""
    shared = {name: report[name] for name in ("kind", "benchmark", "num_problems")}
    return {
        policy["policy"]: {
            **shared,
            "model": policy["policy"],
            "rows": [
                {"n": row["k"], "pass_at_k": row["pass"], "pass_at_k_interval": row["interval"]}
                for row in policy["rows"]
            ],
        }
        for policy in report["policies"]
    }


def run(config: PassAtKConfig) -> None:
    """Writes report.json, pass_at_k.csv, problems.csv and a plot; prints the table."""
    require(
        len(config.policies) > 0 and len(set(config.policies)) == len(config.policies),
        "policies",
        config.policies,
        "must be files of judged candidates, each given once",
        "add --policies FILE ...",
    )
    problems = {path: read_candidates(path) for path in config.policies}
    report, rates = compare(problems, config)
    rows = [
        (policy["policy"], *_cells(row)) for policy in report["policies"] for row in policy["rows"]
    ]
    items = [(problem.problem_id, problem.subset) for problem in next(iter(problems.values()))]
    values = [
        (path, *item, size, rates[path][row, column])
        for path, (row, item), (column, size) in itertools.product(
            config.policies, enumerate(items), enumerate(config.k)
        )
    ]
    header = ("policy", "k", "pass", "low", "high", "difference", "from", "to", "p_value")
    tables: dict[str, folders.Table] = {
        "pass_at_k.csv": (header, rows),
        folders.VALUES["pass_at_k"]: (("policy", "problem_id", "subset", "k", "pass"), values),
    }
    figure = plots.make_figure(list(plots.pass_at_k_panels(by_policy(report)).values()))
    folders.write_folder(
        config.output,
        report | {"config": presets.to_json(config)},
        tables,
        {"pass_at_k.png": figure},
    )
    print(table(report))
    print(f"{report['num_problems']} problems: {config.output}")


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    low, high = row.get("difference_interval") or (None, None)
    return (
        row["k"],
        row["pass"],
        *row["interval"],
        row.get("difference"),
        low,
        high,
        row.get("p_value"),
    )


def table(report: dict[str, Any]) -> str:
    """The report as text: differences are from the first policy, in points, on the same problems."""
    rows = [
        (
            policy["policy"],
            str(row["k"]),
            percent(row["pass"]),
            percent_interval(row["interval"]),
            points(row["difference"]) if "difference" in row else "-",
            points_interval(*row["difference_interval"]) if "difference" in row else "-",
            f"{row['p_value']:.3f}" if "difference" in row else "-",
        )
        for policy in report["policies"]
        for row in policy["rows"]
    ]
    header = ("policy", "k", "pass@k", "95 % interval", "difference", "95 % interval", "p")
    return format_table(header, rows)
