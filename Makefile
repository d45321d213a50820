# make demo    set everything up and run the quickstart on this computer
# make test    set everything up and pass the tests
# make check   the quick subset: lint, types, unit tests
# make demo-phone   run plans on virtual phones: x86_64, with energy, and arm64 emulated
# make campaign     500 launches on a virtual phone, with a random fault each
# make test-device SERIAL=...   hold a physical phone to the contract of devices
# make setup   the environment (.venv) and what the tests need of the system

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Newer torch releases bring gigabytes of CUDA; this one has a CPU build.
TORCH := torch==2.13.0
CXX_FILES = $(shell git ls-files '*.cpp' '*.h' '*.cc')

.PHONY: demo demo-phone campaign test-device test check lint setup system format docs clean

demo: setup
	$(BIN)/phonebench run examples/quickstart.toml

demo-phone: setup
	$(BIN)/python -m tests.demo_phone

campaign: setup
	$(BIN)/python -m benchmarks.fault_campaign --launches 500

test-device: setup
	@test -n "$(SERIAL)" || { echo "name the phone: make test-device SERIAL=..."; exit 2; }
	$(BIN)/python -m tests.on_a_phone $(SERIAL)

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.generated_docs --check
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

docs: setup
	$(BIN)/phonebench plan --schema > docs/plan.schema.json
	$(BIN)/python -m tools.generated_docs

setup: $(VENV)/installed system

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "phonebench needs Python 3.11 or newer: name one with make PYTHON=..."; exit 1; }
	@echo "setting up $(VENV) (the first time: a few minutes, 2.1 GB; pip says nothing meanwhile)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make $(VENV): on Debian, install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

system:
	@sh tools/system-packages.sh

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
