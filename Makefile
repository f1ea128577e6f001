# Everything this project does, by name. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo serve speaking test check format bench chaos nightly lock clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install everything from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "MoRAG needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

lock: ## resolve the dependencies anew into requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --extra all --group dev --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

demo: setup ## ingest one real file of every kind, show the Markdown, ask five questions
	@$(BIN)/python examples/demo.py

serve: setup ## start the server on http://127.0.0.1:8000
	@$(BIN)/morag serve

speaking: setup ## say a sentence, see which words were heard: http://127.0.0.1:8010
	@$(BIN)/python examples/speaking_practice/app.py

test: setup ## run all the tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup ## format, lint, types, architecture, unit and contract tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -n 2 -q tests/unit tests/contract

format: setup ## rewrite the sources in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure against peers (prints figures; nothing passes or fails)
	@for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

chaos: setup ## kill what can be killed, for long, and count what was lost
	@for script in chaos/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

nightly: setup ## drive each task store through a million transitions against the model
	@$(BIN)/python chaos/state_machine.py --steps 1000000 --store memory --store sqlite
	@$(BIN)/python chaos/state_machine.py --store postgres --minutes 60

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis
