# make demo               set up what a run needs, and run the quickstart on this computer
# make test               set up what tests need, and pass lint and all tests
# make check              the quick subset, about a minute: lint, types, unit tests
# make demo-phone         run the quickstart on a virtual phone (x86_64)
# make demo-phone-energy  run a plan with energy on a virtual phone, calibrated first
# make demo-phone-arm64   run a short plan on a virtual arm64 phone, emulated
# make campaign           500 launches on a virtual phone, with a random fault each
# make test-device SERIAL=...   hold a physical phone to the contract of devices
# make lint               ruff, mypy, import-linter, generated docs, clang-format, shellcheck
# make format             ruff and clang-format, changing files
# make docs               write the parts of docs/ that are made from the code
# make setup              the environment (.venv) of a run, as `make demo` makes it
# make setup-dev          the environment of tests and lint, with what they need of the system
# make lock               resolve all dependencies anew, into constraints.txt
# make clean              remove the environment, what was built, and the tools' caches
#
# Variables: PYTHON, the interpreter of the environment; TORCH_INDEX, an index to take torch from;
# PYTEST_OPTIONS.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CXX_FILES = $(shell git ls-files '*.cpp' '*.h' '*.cc')
SH_FILES = $(shell git ls-files '*.sh' .ci/run)
# What decides what is installed, and under which version.
INSTALL_INPUTS := pyproject.toml constraints.txt runner_core/version.txt tools/install.py
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help demo test check demo-phone demo-phone-energy demo-phone-arm64 campaign test-device \
  lint format docs setup setup-dev lock clean

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

demo: setup
	$(BIN)/phonebench run examples/quickstart.toml

demo-phone: setup
	@sh tools/system-packages.sh virtual
	$(BIN)/python -m tests.demo_phone quickstart

demo-phone-energy: setup
	@sh tools/system-packages.sh virtual
	$(BIN)/python -m tests.demo_phone energy

demo-phone-arm64: setup
	@sh tools/system-packages.sh phones virtual emulated
	$(BIN)/python -m tests.demo_phone arm64

campaign: setup-dev
	$(BIN)/python -m benchmarks.fault_campaign --launches 500

test-device: setup-dev
	@test -n "$(SERIAL)" || { echo "name the phone: make test-device SERIAL=..."; exit 2; }
	$(BIN)/python -m tests.on_a_phone $(SERIAL)

test: setup-dev lint
	$(PYTEST) $(PYTEST_OPTIONS)

check: setup-dev lint
	$(PYTEST) -m "not slow" $(PYTEST_OPTIONS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.generated_docs --check
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/shellcheck $(SH_FILES)

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

docs: $(VENV)/installed-dev
	$(BIN)/phonebench plan --schema > docs/plan.schema.json
	$(BIN)/python -m tools.generated_docs

setup: $(VENV)/installed
	@sh tools/system-packages.sh run

setup-dev: $(VENV)/installed-dev
	@sh tools/system-packages.sh

$(VENV)/installed: $(INSTALL_INPUTS) | $(BIN)/python
	@$(BIN)/python -m tools.install run
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(BIN)/python -m tools.install dev
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "phonebench needs Python 3.11 or newer: name one with make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot make $(VENV): on Debian, install python3-venv"; exit 1; }

lock: | $(BIN)/python
	$(BIN)/python -m tools.lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
