# One place for what people and CI run. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-fast coverage mutants bench lint types docs lock chart sbom package clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with the locked dependencies (nothing to do when the lock has not changed)

# The environment is built anew when the lock or the packaging changes; the stamp is written last.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "screener needs Python 3.11 or newer; set PYTHON=/path/to/python3.11 and try again"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## the main job on the embedded sandbox: backfill, again, then a corrected and a withdrawn result
	$(BIN)/screener sandbox demo

lint: setup ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict
	$(BIN)/mypy

docs: setup ## the documentation as a site, in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: lint types docs ## lint, types, documentation and every test, those against a real HAPI FHIR server included
	$(BIN)/python -m tests.tools
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations=15

test-fast: setup ## the tests that need no HAPI FHIR and no Spark
	$(BIN)/python -m pytest -m "not hapi and not spark"

coverage: setup ## statements and branches that the tests without HAPI FHIR and Spark reach; fails below the floor
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest -n 2 --dist loadgroup -q -m "not hapi and not spark"
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

mutants: setup ## small changes of the rules and assessments that no test notices (MUTANTS="--draw 400 --seed 1"); an hour
	$(BIN)/python -m tests.mutants $(MUTANTS)

bench: setup ## measure against peers and limits; BENCH="--only offline" for one row
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench
	$(BIN)/python -m tests.benchmarks $(BENCH)

# Three locks: of all that the tests need, of what an installation runs (deploy/docker), and of what builds it, both parts of the first.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet

lock: setup ## resolve the dependencies again
	$(COMPILE) --extra fast --extra sandbox --extra postgresql --extra report --extra spark --group dev --group docs \
		--fork-strategy fewest -o requirements.lock
	$(COMPILE) --extra fast --extra postgresql --extra sandbox -c requirements.lock -o requirements-run.lock
	echo hatchling | $(subst pyproject.toml,-,$(COMPILE)) -c requirements.lock -o deploy/docker/build.lock

chart: setup ## render the Helm chart for its tests (needs helm)
	$(BIN)/python -m tests.deployment.render

sbom: setup ## the bill of materials of what an installation runs (CycloneDX), in build/sbom.cdx.json
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements-run.lock --pyproject pyproject.toml --short-PURLs --output-reproducible \
		-o build/sbom.cdx.json 2>/dev/null
	@echo build/sbom.cdx.json

package: setup ## build wheel and sdist, and try them in fresh environments: without extras and with each
	$(BIN)/python -m tests.deployment.package

clean: ## remove what the targets made, the environment included
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
