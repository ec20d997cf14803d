# What a person or CI types. `make` alone lists the commands.
#
#   TORCH=0            leave out torch (5 GB) and the tests that need it
#   DEMO="--steps 800" options of `flexopt demo`
#   VENV=.venv         where the virtual environment is made

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= 1
DEMO   ?=

BIN     := $(VENV)/bin
STAMPS  := $(VENV)/stamps
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE \
           $(shell find rust/core/src rust/bindings python -type f -not -name '*.so' -not -path '*/__pycache__/*')
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: help demo test test-rust test-python lint bench bench-rust bench-peers soak wheel clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    from a structure to its flexibility, by real molecular dynamics (2 minutes)"
	@echo "make test    all tests, of the core and of the installed wheel (TORCH=0: without torch)"
	@echo "make lint    formatting, lints, types and stubs"
	@echo "make bench   benchmarks of the core, and side by side with other tools"
	@echo "make soak    the slow tests"
	@echo "make wheel   build the wheel into dist/"
	@echo "make clean   remove everything that was built"

# --- The environment -------------------------------------------------------------------------------

$(STAMPS)/venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "maturin>=1.9,<2"
	@mkdir -p $(STAMPS) && touch $@

# The wheel is built and installed like any user's; nothing ever runs from the source tree.
$(STAMPS)/wheel: $(STAMPS)/venv $(SOURCES)
	rm -rf dist
	$(BIN)/maturin build --release --out dist
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	@touch $@

# Each extra is installed once; a new wheel leaves it alone.
$(STAMPS)/extra-%: $(STAMPS)/venv pyproject.toml | $(STAMPS)/wheel
	@echo "installing what the extra '$*' needs"
	$(BIN)/python -m pip install "$$(echo dist/*.whl)[$*]"
	@touch $@

wheel: $(STAMPS)/wheel

# --- What people do --------------------------------------------------------------------------------

demo: $(STAMPS)/wheel $(STAMPS)/extra-demo
	$(BIN)/python examples/pipeline.py $(DEMO)

test: test-rust test-python

test-rust:
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
else
	cargo test --workspace --locked --quiet
endif

ifeq ($(TORCH),0)
test-python: $(STAMPS)/wheel $(STAMPS)/extra-test
	@echo "TORCH=0: the tests that need torch are left out"
	$(BIN)/python -m pytest -m "not soak and not torch and not gpu"
else
test-python: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-torch
	$(BIN)/python -m pytest -m "not soak and not gpu"
endif

lint: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff format --check python tests benches examples
	$(BIN)/ruff check python tests benches examples
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest proteinflex_optimization._native

bench: bench-rust bench-peers

bench-rust:
	cargo bench --locked -p proteinflex-core

bench-peers: $(STAMPS)/wheel $(STAMPS)/extra-bench
	for script in benches/peers/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

soak: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-torch
	PROPTEST_CASES=5000 $(MAKE) test-rust
	cargo test --locked --quiet -p proteinflex-core --lib -- --ignored
	$(BIN)/python -m pytest -m soak --timeout 3600

clean:
	rm -rf $(VENV) dist target
