# The README's commands. They need python >= 3.11 and a package index; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install run smoke test test-all test-slow test-gpu lint lock clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/installed ## create .venv with the pinned dependencies and this package

.venv/installed: requirements.lock requirements-torch.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vpo needs python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements-torch.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## the whole method on the embedded default (ARGS="seed=1" adds overrides)
	$(BIN)/vpo run $(ARGS)

smoke: install ## every stage on a handful of items, in seconds
	$(BIN)/vpo run experiment=smoke $(ARGS)

test: install ## the quick tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-all: install ## every test, the slow ones too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not gpu' $(ARGS)

test-gpu: install ## what only a CUDA GPU can show, on one GPU and without network; elsewhere it is skipped
	$(BIN)/python -m pytest -m gpu -rs -s tests/gpu $(ARGS)

test-slow: install
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(ARGS)

lint: install ## style, and the types of what pyproject.toml lists for mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: ## remake requirements.lock from requirements.in (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header requirements.in | $(PYTHON) .ci/lock.py > requirements.lock

clean: ## remove the environment and caches; store/ and runs/ stay
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache
