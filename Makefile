# make install      .venv with everything that is tested (PYTHON=... picks the interpreter); by uv, or INSTALLER=pip
# make quickstart   from source code to a scored preference model (ARGS="--input FOLDER" and the like)
# make chaos        training killed KILLS=50 times on a disk and in a bucket, against undisturbed runs
# make test         lint, format, types, tests (makes .venv-vllm, .venv-seqio and .venv-rewardbench too)

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
STAMP := .venv/installed
VLLM_STAMP := .venv-vllm/installed
SEQIO_STAMP := .venv-seqio/installed
REWARDBENCH_STAMP := .venv-rewardbench/installed
# $(PACKAGES) ENVIRONMENT install|uninstall ...
PACKAGES := $(BIN)/python tools/packages.py

.PHONY: install quickstart chaos checks test

install: $(STAMP)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found." \
		"Remedy: install one, or name it: make install PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv

$(STAMP): requirements.txt setup.py tools/packages.py | $(BIN)/python
	$(PACKAGES) .venv install -r requirements.txt
	$(PACKAGES) .venv install --no-deps --no-build-isolation -e .
	touch $@

# vLLM pins its own PyTorch and numpy. The three packages are built for another PyTorch: vLLM would fail on
# them, and generates text without them.
$(VLLM_STAMP): requirements-vllm.txt setup.py | $(STAMP)
	$(BIN)/python -m venv --without-pip .venv-vllm
	$(PACKAGES) .venv-vllm install -r requirements-vllm.txt
	$(PACKAGES) .venv-vllm uninstall torchvision torchaudio torchcodec
	$(PACKAGES) .venv-vllm install --no-deps --no-build-isolation -e .
	touch $@

# SeqIO needs TensorFlow, which the other environments do without.
$(SEQIO_STAMP): requirements-seqio.txt setup.py | $(STAMP)
	$(BIN)/python -m venv --without-pip .venv-seqio
	$(PACKAGES) .venv-seqio install -r requirements-seqio.txt -e .
	touch $@

# RewardBench pins its own transformers.
$(REWARDBENCH_STAMP): requirements-rewardbench.txt | $(STAMP)
	$(BIN)/python -m venv --without-pip .venv-rewardbench
	$(PACKAGES) .venv-rewardbench install -r requirements-rewardbench.txt
	touch $@

quickstart: install
	$(BIN)/python launch/quickstart.py $(ARGS)

KILLS ?= 50
chaos: install
	$(BIN)/python benchmarks/chaos.py --kills $(KILLS) --write $(ARGS)

checks: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Environments are made while the checks run.
test:
	$(MAKE) -j 2 checks $(VLLM_STAMP) $(SEQIO_STAMP) $(REWARDBENCH_STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile
