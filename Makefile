# `make` alone prints what there is. Everything happens in .venv, which `make install` makes from
# any Python 3.11 or newer; no database, broker or container is needed.

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
# Each worker has stores of its own; WORKERS=0 tests in one process, for a debugger.
WORKERS ?= logical

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# One stamp for what running needs, one for what developing needs: a lock that has not changed
# is not installed again.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

PROTOS = $(sort $(wildcard proto/trade_engine/v1/*.proto))
TYPED = $(wildcard trade_engine tests bench examples migrations tools)
# What `buf breaking` compares with.
AGAINST ?= $(shell git rev-parse --verify --quiet origin/main >/dev/null 2>&1 && echo origin/main || echo main)

.PHONY: help
help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} \
	     /^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The engine

.PHONY: run
run: $(RUN_STAMP) ## start the engine with its own PostgreSQL and Valkey (ARGS="--listen …")
	exec $(BIN)/python -m trade_engine.main $(ARGS)

.PHONY: demo
demo: $(DEV_STAMP) ## replay real prices through the engine, and watch (ARGS=…)
	$(BIN)/trade-engine demo $(ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## measure against floors of the same run (ARGS=…); writes bench/results.json
	$(BIN)/python -m bench $(ARGS)

## Development

.PHONY: install
install: $(DEV_STAMP) ## make .venv and install everything from the locks

.PHONY: test
test: $(DEV_STAMP) ## run the whole suite (PYTEST_ARGS="-m 'not slow' tests/unit"); see CONTRIBUTING.md
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

.PHONY: coverage
coverage: $(DEV_STAMP) ## run unit and property tests; words and decisions must be covered in full
	$(BIN)/python -m pytest --cov --cov-report= $(wildcard tests/unit tests/properties) $(PYTEST_ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage report --fail-under=100 \
	  --include='trade_engine/domain/*,trade_engine/risk/*,trade_engine/portfolio/*,trade_engine/audit/*'

.PHONY: format
format: $(DEV_STAMP) ## format the code, and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

.PHONY: proto
proto: $(DEV_STAMP) ## generate trade_engine/v1 from proto/
	rm -f trade_engine/v1/*_pb2*.py trade_engine/v1/*_pb2*.pyi
	$(call generate,.)

.PHONY: lock
lock: $(DEV_STAMP) ## renew the locks after a change in pyproject.toml (ARGS=--upgrade for new versions)
	$(call compile,--group build -o requirements.lock)
	$(call compile,--extra demo --group dev -c requirements.lock -o requirements-dev.lock)

.PHONY: wheel
wheel: $(DEV_STAMP) ## build the sdist, and the wheel from it, into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --quiet

.PHONY: clean
clean: ## remove what was built, but not .venv nor any data
	rm -rf build dist htmlcov .coverage .coverage.* \
	  .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(TYPED) -name __pycache__ -prune -exec rm -rf {} +

## Faults: real engines, real stores, real faults, and a checker that judges what they leave

RUNS ?= 20
SEED ?= 1
JOBS ?= 2
HALTS ?= 200
MINUTES ?= 2
PAUSE_MS ?= 0
# Every run of a sweep is a line in here; with RESUME=1 the seeds that it has are not run again.
RESULTS ?= build/faults.jsonl
RESUME ?=

.PHONY: faults
faults: $(DEV_STAMP) ## seeded runs with faults (RUNS=20 SEED=1 JOBS=2), each judged; RESUME=1 goes on
	$(BIN)/python -m tests.faults --runs $(RUNS) --seed $(SEED) --jobs $(JOBS) \
		--results $(RESULTS) $(if $(RESUME),--resume) $(ARGS)

.PHONY: faults-plants
faults-plants: $(DEV_STAMP) ## plant each known bug, and see that the checker finds it
	$(BIN)/python -m tests.faults.plants_main $(ARGS)

.PHONY: fail-closed
fail-closed: $(DEV_STAMP) ## every fault of docs/fail-closed.md on a real engine: answer, alert, times to both
	$(BIN)/python -m tests.fail_closed $(ARGS)

.PHONY: halt-race
halt-race: $(DEV_STAMP) ## HALTS=200 halts against a full load on three replicas
	$(BIN)/python -m tests.faults.halt_race --halts $(HALTS) --seed $(SEED)

.PHONY: soak
soak: $(DEV_STAMP) ## MINUTES=2 under clients that hang up and come back, PAUSE_MS=0 between calls; plots build/soak/soak.svg
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --pause-ms $(PAUSE_MS)

## Checks (`make -k check` runs them all, whatever fails)

.PHONY: check
check: check-format check-lint check-types check-imports check-proto check-generated check-breaking check-lock check-wheel ## all of these

.PHONY: check-format
check-format: $(DEV_STAMP) ## code and protos are formatted
	$(BIN)/ruff format --check .
	$(BIN)/buf format --diff --exit-code

.PHONY: check-lint
check-lint: $(DEV_STAMP) ## ruff's rules
	$(BIN)/ruff check .

.PHONY: check-types
check-types: $(DEV_STAMP) ## mypy, strict
	$(BIN)/mypy $(TYPED)

.PHONY: check-imports
check-imports: $(DEV_STAMP) ## who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: check-proto
check-proto: $(DEV_STAMP) ## buf's rules for the contract
	$(BIN)/buf lint

.PHONY: check-generated
check-generated: $(DEV_STAMP) ## trade_engine/v1 is what proto/ gives
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(call generate,"$$fresh"); \
	diff -rq --exclude=__init__.py --exclude=__pycache__ trade_engine/v1 "$$fresh/trade_engine/v1" \
	  || { echo "trade_engine/v1 is not what proto/ gives: run \`make proto\`" >&2; exit 1; }

.PHONY: check-breaking
check-breaking: $(DEV_STAMP) ## the contract breaks nothing that AGAINST (main) promises
	@if ! git cat-file -e $(AGAINST):buf.yaml 2>/dev/null; then \
	  echo "NOT CHECKED: no git, or no contract in $(AGAINST), to compare with"; exit 0; fi; \
	old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	git archive $(AGAINST) buf.yaml proto | tar -x -C "$$old"; \
	$(BIN)/buf breaking --against "$$old"

.PHONY: check-lock
check-lock: $(DEV_STAMP) ## the locks follow pyproject.toml, and what is installed agrees
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest -q tests/unit/test_house.py -k lock

.PHONY: check-wheel
check-wheel: $(DEV_STAMP) ## the wheel and the sdist build, and hold what they should
	$(BIN)/python -m pytest -q tests/unit/test_house.py -k 'wheel or sdist'

.PHONY: hostile
hostile: RUNS ?= 1000
hostile: SEED ?= 1
hostile: $(DEV_STAMP) ## seeded runs against a hostile broker: its own log and the record must agree
	@$(BIN)/python -m tests.hostile --runs $(RUNS) --seed $(SEED)

## References: published cases run through the engine's pure parts (FILE=… for a file of your own)

.PHONY: fix-matrices
fix-matrices: FILE ?= tests/data/fix_scenarios_sample.json
fix-matrices: $(DEV_STAMP) ## FIX 4.4's order state change matrices through the order machine
	@$(BIN)/python -m tools.fix_matrices "$(FILE)"

.PHONY: pnl-examples
pnl-examples: FILE ?= tests/data/pnl_examples_sample.json
pnl-examples: $(DEV_STAMP) ## published profit-and-loss examples through the ledger
	@$(BIN)/python -m tools.pnl_examples "$(FILE)"

.PHONY: concurrency
concurrency: SIGNALS ?= 10000
concurrency: SEED ?= 1
concurrency: $(DEV_STAMP) ## 3 replicas against tight limits: is one ever passed? (SIGNALS=10000 SEED=1)
	@$(BIN)/python -m tests.workload --signals $(SIGNALS) --seed $(SEED) concurrency

.PHONY: limits-change
limits-change: CHANGES ?= 40
limits-change: $(DEV_STAMP) ## limits change under load on 3 replicas: what it costs (CHANGES=40)
	@$(BIN)/python -m tests.workload limits --changes $(CHANGES)

.PHONY: replay
replay: SIGNALS ?= 10000
replay: SEED ?= 1
replay: $(DEV_STAMP) ## a random workload, decided again by another process (SIGNALS=10000 SEED=1)
	@$(BIN)/python -m tests.workload --signals $(SIGNALS) --seed $(SEED) replay

.PHONY: golden
golden: $(DEV_STAMP) ## renew the golden journal, after a change of verdicts that is meant
	@$(BIN)/python -m tests.workload --signals 450 --seed 2026 golden

# How it is done ---------------------------------------------------------------------------------

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# $(call install-lock,LOCK,STAMP)
define install-lock
	$(PIP) install --quiet --require-hashes -r $(1)
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $(2)
endef

$(RUN_STAMP): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(call install-lock,requirements.lock,$@)

$(DEV_STAMP): requirements-dev.lock requirements.lock pyproject.toml | $(VENV)/bin/python
	$(call install-lock,requirements-dev.lock,$@ $(RUN_STAMP))

# $(call generate,FOLDER): Python code and its types, below FOLDER.
generate = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto \
	  --python_out=$(1) --mypy_out=quiet:$(1) --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

# $(call compile,OPTIONS): a lock for every platform, from the oldest Python on, without an index's address.
compile = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS) $(1)
