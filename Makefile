# A bare machine needs Python 3.11 or newer, make, and a network for the first run.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install demo test lint bench clean

install: $(VENV)/.installed

# PyTorch first and by itself, pinned: a looser request may bring gigabytes of CUDA that a CPU does not need.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install  ## restore a real CT slice; the results lie in demo-output/
	$(BIN)/python -m medley.apps.demo demo-output

test: install  ## the whole suite
	$(BIN)/python -m pytest

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## speed and memory; make bench BENCH="--plain -o results/speed.csv"
	$(BIN)/python -m benchmarks.speed $(BENCH)

clean:
	rm -rf $(VENV) demo-output
