# Everything happens in .venv, which is made on first use with PYTHON (any of 3.10 to 3.12):
#   make demo     draws parts, searches, exports a bundle and predicts an image with it
#   make test     runs the tests, one process a core
#   make coverage runs the tests and shows how much of the code they reach; fails below 95 %
#   make lint     checks style, format and types
#   make clean    removes what these commands made; studies in a workspace stay
# With a Python of another name:  make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process a core and one thread a process: more threads would only wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed
	$(BIN)/automl-ad demo

test: $(VENV)/.installed-dev
	$(PYTEST)

coverage: $(VENV)/.installed-dev
	$(PYTEST) --cov --cov-report=term --cov-fail-under=95

lint: $(VENV)/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) automl_ad_demo build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find automl_ad dashboard tests studies -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps keep a second call from installing again; a changed pyproject.toml makes them stale.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

# Holds all of the above, so that `make demo` after `make test` installs nothing.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@

# pip is the last thing that a new environment gets: where it is missing, the environment is not complete.
$(BIN)/pip:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.10, 3.11 or 3.12, or name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "$$("$(PYTHON)" --version 2>&1) ($(PYTHON)) does not fit: name a Python 3.10, 3.11 or 3.12, such as PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks the module venv: install it first (on Debian and Ubuntu: apt-get install python3-venv)" >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv $(VENV)
