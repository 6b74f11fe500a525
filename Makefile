# Two commands do all the set-up: `make demo` and `make test`. Both make the virtual environment they need.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
COMPILED := build/compiled
CAN_COMPILE = command -v cc >/dev/null && $(BIN)/python -c \
	'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null
# Two test processes a core would only slow each other down: many tests start servers of their own.
JOBS ?= auto
KAFKA_BROKERS ?= 1
KAFKA_PORT ?= 9092
KAFKA := $(BIN)/python -m streamadapter.testing.kafka

.PHONY: print-python demo test test-compiled check format bench bench-full load compatibility kafka kafka-stop clean help

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

print-python:
	@echo $(PYTHON)

demo: $(VENV)/.demo            ## the shop on an embedded server: five services, one stopped half-way
	@$(BIN)/streamstore demo

test: $(VENV)/.dev            ## all tests; those on a real Kafka need Java 17 and Maven
	-@$(KAFKA) install
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal
	@if [ -n "$$CI" ] || $(CAN_COMPILE); then $(MAKE) --no-print-directory test-compiled; \
	else echo "No C compiler, or no Python.h (python3-dev): the compiled modules are not tested."; fi

# Not `python -m pytest`, which would put this directory before the compiled modules.
test-compiled: $(COMPILED)/.made            ## unit tests and the contract on Redis once more, with the compiled modules
	EXPECT_COMPILED=1 PYTHONPATH=$(COMPILED) $(BIN)/pytest -n $(JOBS) --dist worksteal tests/unit \
		tests/contract/test_contract.py -k 'not (kafka or embedded or memory)'

check: $(VENV)/.dev            ## lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev            ## what check would complain of, as far as a tool can mend it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(COMPILED)/.made            ## the figures beside those of the peers, in one run: build/bench/report.html
	-@$(KAFKA) install
	PYTHONPATH=$(COMPILED) $(BIN)/python loadtests/bench/run.py $(BENCH)

bench-full: $(COMPILED)/.made            ## the same with all sizes, partitions, rates and members; most of an hour
	@$(MAKE) --no-print-directory bench BENCH='--full $(BENCH)'

load: $(VENV)/.dev            ## both architectures under Locust, Redis beside Kafka, a flood: build/load/report.html
	-@$(KAFKA) install
	$(BIN)/python loadtests/load/run.py $(LOAD)

compatibility: $(VENV)/.dev            ## the contract suite on every backend, and docs/compatibility.md from what it saw
	-@$(KAFKA) install
	$(BIN)/python -m pytest -n $(JOBS) tests/contract/test_contract.py --contract-report docs/compatibility.json
	$(BIN)/python -m streamadapter.testing.contract.compatibility docs/compatibility.json > docs/compatibility.md

kafka: $(VENV)/.dev            ## a real Apache Kafka on KAFKA_PORT (9092), of KAFKA_BROKERS (1) brokers; it keeps its data
	@$(KAFKA) start --brokers $(KAFKA_BROKERS) --port $(KAFKA_PORT)

kafka-stop: $(VENV)/.dev            ## stop what `make kafka` started
	@$(KAFKA) stop

$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[streamstore]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo

# What a wheel contains on this machine: beside the sources an extension would hide what is edited there.
$(COMPILED)/.made: hatch_build.py pyproject.toml $(shell find streamadapter backends services -type f) | $(VENV)/.dev
	@rm -rf $(COMPILED)
	@$(CAN_COMPILE) || echo "No C compiler, or no Python.h (python3-dev): this will be pure Python, and slower."
	STREAMADAPTER_COMPILE=$$($(CAN_COMPILE) && echo 1 || echo 0) $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--target $(COMPILED) .
	@touch $@

clean:            ## everything that was made here
	@! test -x $(BIN)/python || ! test -d .kafka || $(KAFKA) stop
	rm -rf $(VENV) .kafka build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
