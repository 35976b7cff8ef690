"""Whole files in many languages: filtered, cleaned, deduplicated, decontaminated.

    python launch/corpus.py --config corpus_files --input DIR --output DIR --num-workers CORES

DIR is a folder, a git checkout or a folder of checkouts, or Parquet and JSONL tables with the columns of The
Stack or StarCoderData, local or gs://. `--filter.licenses MIT Apache-2.0 BSD-3-Clause` lets in nothing else;
`--decontamination.files mbpp.jsonl math.parquet` adds benchmarks to HumanEval. Killed at any time, the
same command goes on.

Hardware: CPU cores, 0.3 GB each. Expected of the standard library of Python 3.11.7 (no --input; 40 seconds
of a core): 9854 sources, 188 of them whole files, of 736 files; 207 duplicates, 56 e-mail addresses replaced.
"""

from codepmp_jax.config import (
    CorpusConfig,
    DecontaminationConfig,
    DedupConfig,
    FilterConfig,
    SecretsConfig,
)

LANGUAGES = (
    "c",
    "c++",
    "c-sharp",
    "go",
    "java",
    "javascript",
    "julia",
    "jupyter-notebook",
    "kotlin",
    "lua",
    "perl",
    "php",
    "python",
    "ruby",
    "rust",
    "scala",
    "shell",
    "swift",
    "tsx",
    "typescript",
)


def get_config() -> CorpusConfig:
    """A file of up to 1024 tokens is a source; of a longer one its functions are."""
    return CorpusConfig(
        languages=LANGUAGES,
        exclude=(*CorpusConfig().exclude, "node_modules", "third_party", "vendor"),
        unit="file",
        max_file_tokens=1024,
        max_lines=200,
        max_chars=8000,
        filter=FilterConfig(min_tokens=32),
        secrets=SecretsConfig(secrets="replace", emails="replace"),
        dedup=DedupConfig(near=True),
        decontamination=DecontaminationConfig(human_eval=True),
        num_shards=16,
        num_workers=2,
    )
