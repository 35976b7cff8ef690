# make install      .venv with everything that is tested (PYTHON=... picks the interpreter)
# make quickstart   from source code to a scored preference model (ARGS="--input FOLDER" and the like)
# make replicate-small  every stage of the test of the paper's claim (exp_smollm2), with a tiny model
# make chaos        training killed KILLS=50 times on a disk and in a bucket, against undisturbed runs
# make rehearse     four hosts with a bucket and a hub that fail, signals, hosts that come late or go
# make docs         the documentation as a site, in site/
# make test         lint, format, types, tests (makes .venv-vllm, .venv-seqio and .venv-rewardbench too)

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
STAMP := .venv/installed
VLLM_BIN := .venv-vllm/bin
VLLM_STAMP := .venv-vllm/installed
SEQIO_BIN := .venv-seqio/bin
SEQIO_STAMP := .venv-seqio/installed
REWARDBENCH_BIN := .venv-rewardbench/bin
REWARDBENCH_STAMP := .venv-rewardbench/installed

.PHONY: install quickstart replicate-small chaos rehearse docs checks test

install: $(STAMP)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found." \
		"Remedy: install one, or name it: make install PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# pip install, by uv: INSTALL VENV ARGUMENTS.
INSTALL := $(BIN)/python tools/install.py

$(STAMP): requirements.txt setup.py | $(BIN)/python
	$(INSTALL) .venv -r requirements.txt
	$(INSTALL) .venv --no-deps --no-build-isolation -e .
	touch $@

# vLLM pins its own PyTorch and numpy. The three packages are built for another PyTorch: vLLM would fail on
# them, and generates text without them.
$(VLLM_STAMP): requirements-vllm.txt setup.py | $(STAMP)
	$(BIN)/python -m venv .venv-vllm
	$(INSTALL) .venv-vllm --no-compile -r requirements-vllm.txt
	$(VLLM_BIN)/python -m pip uninstall -y torchvision torchaudio torchcodec
	$(INSTALL) .venv-vllm --no-deps --no-build-isolation -e .
	touch $@

# SeqIO needs TensorFlow, which the other environments do without.
$(SEQIO_STAMP): requirements-seqio.txt setup.py | $(STAMP)
	$(BIN)/python -m venv .venv-seqio
	$(INSTALL) .venv-seqio --no-compile -r requirements-seqio.txt -e .
	touch $@

# RewardBench pins its own transformers.
$(REWARDBENCH_STAMP): requirements-rewardbench.txt | $(STAMP)
	$(BIN)/python -m venv .venv-rewardbench
	$(INSTALL) .venv-rewardbench --no-compile -r requirements-rewardbench.txt
	touch $@

quickstart: install
	$(BIN)/python launch/quickstart.py $(ARGS)

replicate-small: install
	$(BIN)/codepmp experiment --config exp_smollm2_small --parallel 2 $(ARGS)

KILLS ?= 50
chaos: install
	$(BIN)/python benchmarks/chaos.py --kills $(KILLS) --write $(ARGS)

rehearse: install
	$(BIN)/python benchmarks/rehearse.py --write $(ARGS)

# The variable silences an announcement of Material's successor.
export NO_MKDOCS_2_WARNING := 1
docs: install
	$(BIN)/mkdocs build --strict

checks: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && $(BIN)/mkdocs build --strict --site-dir "$$site"

# Environments are made while the checks run. A crashed worker ends the tests: pytest-xdist hangs where it starts
# another one for files.
test:
	$(MAKE) -j 2 checks $(VLLM_STAMP) $(SEQIO_STAMP) $(REWARDBENCH_STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 --durations 40
