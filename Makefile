# The two commands: `make demo` and `make test`. Both set up everything they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

export MACH_CACHE ?= $(HOME)/.cache/mach
export CARGO_TARGET_DIR ?= $(MACH_CACHE)/target
export MACH_TESTDATA ?= $(abspath ../shared/testdata)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
LOGS := $(VENV)/logs
FOUNDRY := contracts/node_modules/.mach-installed
ARTIFACTS := python/mach/chain/artifacts
RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
SOLIDITY_SOURCES := $(shell find contracts/src contracts/foundry.toml contracts/script -type f 2>/dev/null)

FAULT ?= state-root
MODE ?= bls
WORKERS ?= 3
NATIVE := mach_stateless/native,mach_stateless/parallel
L2 ?= op-stack

.PHONY: help
help:
	@echo "make demo            a devnet where a lie about an L2 block is caught and confirmed on L1 (FAULT=none|state-root|receipts-root|gas-used|tx-result|output-root)"
	echo "make test            everything CI checks"
	echo "make test-all        make test, then the slow proofs and soaks"
	echo "make setup | lint | bench | clean"

# ---- set-up -------------------------------------------------------------------------------------------------------

.PHONY: setup python core contracts eigenlayer op-geth
setup: python core contracts eigenlayer op-geth

python: $(STAMPS)/requirements
$(STAMPS)/requirements: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Mach needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	mkdir -p $(STAMPS) && touch $@

core: $(STAMPS)/core
$(STAMPS)/core: $(STAMPS)/requirements pyproject.toml $(RUST_SOURCES)
	PATH="$(abspath $(BIN)):$$PATH" MATURIN_PEP517_ARGS=--locked $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	mkdir -p $(STAMPS) && touch $@

$(FOUNDRY): contracts/package-lock.json
	cd contracts && npm ci --no-audit --no-fund --loglevel=error
	touch node_modules/.mach-installed

contracts: $(ARTIFACTS)/mach_contracts.json
$(ARTIFACTS)/mach_contracts.json: $(FOUNDRY) $(SOLIDITY_SOURCES)
	cd contracts && npm run --silent build
	touch ../$@

eigenlayer: $(ARTIFACTS)/eigenlayer_m2.json
$(ARTIFACTS)/eigenlayer_m2.json: contracts/eigenlayer/Cargo.lock python/mach/chain/eigenlayer_artifact.py | $(STAMPS)/core
	$(BIN)/python -m mach.chain.eigenlayer_artifact
	touch $@

op-geth: | $(STAMPS)/requirements
	@PYTHONPATH=python $(BIN)/python -m mach.devnet.op_geth

# Minutes of building, once: for the slow tests and for `mach devnet up --l2 ethereum`, which builds it too.
.PHONY: geth
geth: | $(STAMPS)/requirements
	@PYTHONPATH=python $(BIN)/python -m mach.devnet.geth

# ---- the main job -------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup
	@$(BIN)/mach devnet demo --fault $(FAULT) --mode $(MODE) --l2 $(L2)

# ---- checks -------------------------------------------------------------------------------------------------------

.PHONY: lint test test-all test-python test-rust test-contracts bench bench-reexecution
lint: setup
	$(BIN)/ruff check python tests
	$(BIN)/ruff format --check python tests
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest mach._core
	$(BIN)/lint-imports
	$(BIN)/python tools/configuration_page.py --check
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets --quiet -- --deny warnings
	cd contracts && npm run --silent lint

test-rust: setup
	cargo test --release --locked --workspace --exclude mach_core --features $(NATIVE)

test-contracts: setup
	cd contracts && npm run --silent test

# Much of what the tests do is waiting for processes to start, to end and to be killed: more of them than cores.
test-python: setup
	$(BIN)/python -m pytest -m "not slow" --benchmark-disable --numprocesses $(WORKERS) --dist loadfile

# Each runner's own summary stands again at the end.
test: setup
	@mkdir -p $(LOGS)
	$(MAKE) --no-print-directory lint
	for part in contracts rust python; do
	  $(MAKE) --no-print-directory test-$$part 2>&1 | tee $(LOGS)/$$part.log
	done
	echo
	grep -hE '^Ran [0-9]+ test suites|^test result: .* [1-9][0-9]* passed|^=+ .* (passed|failed).* =+$$' $(LOGS)/{contracts,rust,python}.log

test-all: test geth
	cargo test --release --locked --workspace --exclude mach_core --features $(NATIVE) --test stateless -- --ignored
	$(BIN)/python -m pytest -m slow --benchmark-disable

bench: setup
	$(BIN)/python -m pytest tests/bench --benchmark-only
	cargo bench --locked --workspace --exclude mach_core --features $(NATIVE)
	$(MAKE) --no-print-directory bench-reexecution

# Real blocks beside kona-executor and revm alone, and the memory that they take; a workspace of its own, whose versions
# are kona-executor's. Needs MACH_TESTDATA.
bench-reexecution:
	CARGO_TARGET_DIR=$(MACH_CACHE)/reexecution cargo run --release --locked --manifest-path tests/bench/reexecution/Cargo.toml --bin reexecution
	CARGO_TARGET_DIR=$(MACH_CACHE)/reexecution cargo run --release --locked --manifest-path tests/bench/reexecution/Cargo.toml --bin memory

.PHONY: clean
clean:
	rm -rf $(VENV) .devnet contracts/out contracts/cache contracts/node_modules $(ARTIFACTS)/*.json .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find python -name '*.so' -delete
