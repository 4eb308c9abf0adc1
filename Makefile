# Every target that runs something sets up what it needs first; a second run finds it done.
# `make help` lists the targets: the text after ## is what it prints.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The environment in .venv decides what Python sees, not the caller's shell.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
PYTEST := $(PY) -m pytest
ARGS ?=
# Tests run in this many processes; 0 is this one alone. tests/support/parts.py says how they are divided.
PARTS ?= 4
IN_PARTS := --numprocesses $(PARTS) --dist loadfile
SECONDS_EACH := $(if $(SECONDS),$(SECONDS),30)

.PHONY: help setup setup-test demo test test-kube unit lint types check rungs soak bench fuzz golden lock clean kernel-matrix

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## Install what the demo needs: Debian packages, .venv, the project (root, once)
	@tools/setup.sh run

setup-test: ## Install also the real programs that the tests put into the mesh
	@tools/setup.sh test

demo: setup ## Mesh three real servers and real clients, and show what happened (ARGS="--once --json")
	@.venv/bin/meshtrio demo $(ARGS)

test: setup-test ## Run all tests but bench and soak; as root, or the kernel's tests skip (ARGS="-k relay")
	@$(PYTEST) $(IN_PARTS) $(ARGS)

test-kube: setup-test ## Test against a real Kubernetes API server, which is built the first time (minutes)
	@tools/kube.sh
	@MESHTRIO_KUBE=1 $(PYTEST) tests/kube $(ARGS)

unit: setup ## Run the tests that need neither root nor the kernel
	@$(PYTEST) $(IN_PARTS) -m "not kernel and not world" $(ARGS)

lint: types ## Check format, lint, types and the tree's own rules
	@$(PYTEST) -q tests/style

types: setup ## Check format, lint and types: the part of lint that is not among the tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

check: types test ## Run all that a change must pass: lint and test (the tree's own rules are tests)

rungs: setup-test ## Run all tests three times, with acceleration forced to r1, r1d and r2 (ARGS=tests/forward)
	@failed=; for rung in r1 r1d r2; do echo "acceleration forced to $$rung"; \
	  $(PYTEST) $(IN_PARTS) --rung-max $$rung $(ARGS) || failed="$$failed $$rung"; done; \
	  [ -z "$$failed" ] || { echo "tests failed with acceleration forced to:$$failed" >&2; exit 1; }

soak: setup-test ## Run the long tests: gigabytes, thousands of connections, every byte compared
	@$(PYTEST) --soak $(ARGS)

bench: setup-test ## Measure against unmeshed, HAProxy, nginx and Envoy, ratios in one run (ARGS="--help" lists more)
	@$(PY) -m tests.bench $(ARGS)

fuzz: setup ## Throw bytes at every parser (SECONDS=30 each, ARGS=name)
	@$(PY) -m tests.fuzz --seconds $(SECONDS_EACH) $(ARGS)

golden: setup-test ## Rewrite the golden files and show how they change
	@$(PYTEST) -q --golden-update $(ARGS)

lock: ## Resolve pyproject.toml's ranges anew into the two lock files
	@tools/lock.sh

kernel-matrix: ## Run the kernel's tests on Debian's kernels under qemu (KERNELS="5.10 6.1")
	@vagrant/kernel-matrix $(KERNELS)

clean: ## Remove everything that make has made here (not the Debian packages)
	@rm -rf .venv build *.egg-info meshtrio/forward/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find . -path ./.git -prune -o -name __pycache__ -type d -print0 | xargs -0 -r rm -rf
