# plait: one command sets up, one checks, one tests. `make help` lists them.
#   PYTHON=/path/to/python3   the interpreter for .venv: 3.11, 3.12 or 3.13 (default python3)
#   SEEDS=FROM:TO  the seeds of `make simulate`
#   STORMS=10      the storms of `make soak`, on each database
#   ARGS="..."                more arguments, for `make test`, `make simulate`, `make soak` and `make bench`
ifeq ($(OS),Windows_NT)
$(error plait runs on Linux and macOS. On Windows, use it in WSL)
endif

SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=
SEEDS ?= 0:2000
STORMS ?= 10
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format simulate week soak bench bench-peers clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with everything that development needs
	@scripts/install.sh dev

demo: ## run the flights example
	@scripts/install.sh demo
	@$(BIN)/python examples/flights/demo.py

test: setup ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## lint, formatting, types, import rules
	@status=0; \
	$(BIN)/ruff check || status=1; \
	$(BIN)/ruff format --check || status=1; \
	$(BIN)/pyright || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	exit $$status

format: setup ## sort imports, mend what can be mended, format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

simulate: setup ## run many seeds of the simulation: SEEDS=0:2000
	@$(BIN)/python -m plait.testing.simulate --seeds $(SEEDS) $(ARGS)

soak: setup ## kill processes of plait and PostgreSQL, hundreds of times: STORMS=10, ARGS="--minutes 5"
	@$(BIN)/python -m tests.service.kills.soak --storms $(STORMS) $(ARGS)
	@PLAIT_CROWD_SECONDS=60 $(BIN)/python -m pytest tests/conformance/stores/test_sqlite_processes.py -k 32_processes

week: setup ## simulate a week of 1,000 schedules, on SQLite and PostgreSQL, with one and three schedulers
	@PLAIT_TEST_SCHEDULES=1000 $(BIN)/python -m pytest --timeout 3600 tests/simulation/test_week.py $(ARGS)

bench: setup ## measure the floor and every case
	@$(BIN)/python -m bench $(ARGS)

bench-peers: setup ## install other engines (in bench/.peers) and run the same work on them
	@$(BIN)/python -m bench peers $(ARGS)

clean: ## remove builds, caches and the example's data; keeps .venv and .plait
	@rm -rf dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache examples/flights/.data
	@find src tests bench examples scripts -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
