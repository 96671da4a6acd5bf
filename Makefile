# The commands of this repository. `make` alone lists them; none of them asks a question.
#
# PYTHON names another Python (3.11 or newer) to build .venv from. ARGS passes options on:
#   make demo ARGS=--check      make test ARGS="-k lease"      make lock ARGS=--upgrade

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# `placet` starts several times faster from compiled modules.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# uv from the PATH, else one of our own: a shim that does not run counts as missing.
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.uv/bin/uv)
BUNDLES := $(dir $(wildcard bundles/*/.manifest bundles/templates/*/.manifest))
OPA = $$($(BIN)/python -c "from app.local.tools import installed; print(installed('opa'))")
NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
  { echo "placet needs Python 3.11 or newer: install it, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help
help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- set-up ----------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.complete ## Make .venv from the hashed lock; instant when nothing changed.
	@:

# The stamp is written last, so that an interrupted set-up is taken up again. The editable install builds with
# hatchling from the lock, not with whatever an index serves today.
.venv/.complete: requirements.lock pyproject.toml sdk/pyproject.toml | $(UV)
	@$(NEW_ENOUGH)
	@rm -f $@; echo "setting up .venv from requirements.lock" >&2
	@$(BIN)/python -c '' 2>/dev/null || \
	  $(UV) venv --quiet --clear --no-python-downloads --python "$$(command -v $(PYTHON))" .venv
	@quiet=$$(test -t 2 || echo --quiet); \
	  $(UV) pip sync $$quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock && \
	  $(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable . --editable ./sdk || \
	  { echo "set-up failed, see above; is a package index reachable? (UV_DEFAULT_INDEX names another)" >&2; exit 1; }
	@touch $@

# requirements-uv.lock pins uv itself. `pip --target` works where the system's Python refuses installations (PEP 668); a venv, where there is no pip.
.uv/bin/uv: requirements-uv.lock
	@$(NEW_ENOUGH)
	@echo "installing uv into .uv" >&2
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -m pip install --quiet --root-user-action ignore --require-hashes --upgrade --target .uv -r $<; \
	elif $(PYTHON) -m venv --clear .uv >/dev/null 2>&1; then \
	  .uv/bin/python -m pip install --quiet --require-hashes -r $<; \
	else \
	  echo "set-up needs uv, or a $(PYTHON) with pip or venv to install it (Debian: apt-get install python3-venv)" >&2; \
	  exit 1; \
	fi
	@touch $@

.PHONY: tools
tools: setup ## Build the pinned OPA and Sigstore servers into a per-user cache (minutes, once).
	@$(BIN)/placet tools install >/dev/null

# ---- what people run -------------------------------------------------------------------------------------

.PHONY: demo
demo: tools ## Run the whole system here and show that it holds; ARGS=--check exits when done.
	@$(BIN)/placet demo run $(ARGS)

.PHONY: test
test: test-rego test-python ## Run all tests: Rego with coverage, then Python with coverage.

.PHONY: test-rego
test-rego: tools
	@for part in rego/placet rego/authz $(BUNDLES); do \
	  printf 'opa test %s: ' "$$part"; $(OPA) test --timeout 60s $$part; \
	  $(OPA) test --timeout 60s --verbose --coverage --threshold 100 $$part >/dev/null; \
	done
	@printf 'opa test rego/replay: '; $(OPA) test rego/replay # it fails on purpose where an outcome is not known

.PHONY: test-python
test-python: tools
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: soak
soak: tools ## Repeat the kill and fault tests at length; writes docs/soak.md.
	@$(BIN)/python tests/soak.py $(ARGS)

.PHONY: mutants
mutants: tools ## Change the library line by line: which changes does no test see? ARGS names modules.
	@$(BIN)/python tests/mutants.py $(ARGS)

.PHONY: bench
bench: tools ## Measure against the rivals, side by side; writes docs/benchmarks.md.
	@$(BIN)/python bench/_report.py $(ARGS)

.PHONY: corpora
corpora: tools ## Build and run real projects of Rego and compare with OPA; ARGS names checkouts.
	@$(BIN)/python tests/corpora.py $(ARGS)

# ---- what developers run ---------------------------------------------------------------------------------

.PHONY: lint
lint: lint-python lint-rego ## Check style, types, layers, Rego and generated files.

.PHONY: lint-python
lint-python: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: make fmt" >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m app.local.generate --check

.PHONY: lint-rego
lint-rego: tools
	@for part in rego/authz rego/replay $(BUNDLES); do $(OPA) check --strict $$part; done
	@$(OPA) check --strict --schema rego/schemas rego/placet
	@$(OPA) fmt --list --fail rego bundles || { echo "not formatted: make fmt" >&2; exit 1; }

.PHONY: fmt
fmt: tools ## Format Python and Rego, and mend what ruff can.
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(OPA) fmt --write rego bundles

.PHONY: generate
generate: setup ## Write the files that are generated from app/core/reasons.json.
	@$(BIN)/python -m app.local.generate

.PHONY: lock
lock: | $(UV) ## Write the locks anew from pyproject.toml; ARGS=--upgrade takes newer versions.
	@$(UV) $(COMPILE) $(ARGS) --group dev --output-file requirements.lock pyproject.toml
	@echo uv | $(UV) $(COMPILE) $(ARGS) --no-annotate --output-file requirements-uv.lock -

.PHONY: clean
clean: ## Remove what the commands above left in this directory, .venv too.
	@rm -rf .venv .uv build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	@find app cli sdk tests bench migrations -name __pycache__ -prune -exec rm -rf {} +
