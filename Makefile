# Everything runs from .venv; `make loop` and `make test` are all a new user needs.
PYTHON ?= python3
BIN := .venv/bin
WORKSPACE ?= workspace
PRESET ?= laptop
# Processes that test side by side; each of them computes on one thread.
WORKERS ?= 2
TEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: loop speedrun reference venv test test-all check format smoke clean

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("fleetloop needs Python 3.11 or newer: make venv PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

loop: venv
	$(BIN)/fleetloop loop --preset $(PRESET) --workspace $(WORKSPACE)

speedrun: venv
	$(BIN)/fleetloop loop --preset speedrun --workspace speedrun

reference: venv
	$(BIN)/fleetloop loop --preset speedrun --turns 2 --workspace speedrun

smoke: venv
	$(BIN)/fleetloop loop --preset smoke --workspace $(WORKSPACE)

test: venv
	$(TEST) -m "not slow"

test-all: venv
	$(TEST)

check: venv
	$(BIN)/ruff check src tests examples
	$(BIN)/ruff format --check src tests examples
	$(BIN)/pyright
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix src tests examples
	$(BIN)/ruff format src tests examples

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
