"""Best-of-N candidates, for the problems of a benchmark or for held-out sources:

codepmp candidates --input problems.jsonl --num-candidates 256 --writer.sampler vllm --writer.model MODEL
codepmp candidates --input problems.jsonl --writer.sampler mutant
codepmp candidates --config candidates_ngram
"""

from codepmp_jax.config import CandidatesConfig, presets

COMMAND = (CandidatesConfig, "Writes Best-of-N candidates.")


def main() -> None:
    """Parses, writes, sums up."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.synthesis.candidates import write_candidates

    report = write_candidates(config)
    remarks = "".join(f", {count} {remark}" for remark, count in report.remarks.items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
    print(
        f"{report.num_problems} problems with {report.num_candidates} candidates{remarks}; "
        f"{report.num_dropped} sources dropped{f' ({reasons})' if reasons else ''} -> {config.output}"
    )
