# Two commands do all the set-up: `make demo` and `make test`. Both make the virtual environment they need.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Two test processes a core would only slow each other down: many tests start servers of their own.
JOBS ?= auto
KAFKA_BROKERS ?= 1
KAFKA_PORT ?= 9092
KAFKA := $(BIN)/python -m streamadapter.testing.kafka

.PHONY: demo test check format bench load compatibility kafka kafka-stop clean help

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(VENV)/.demo            ## the shop on an embedded server: five services, one stopped half-way
	@$(BIN)/streamstore demo

test: $(VENV)/.dev            ## all tests; those on a real Kafka need Java 17 and Maven
	-@$(KAFKA) install
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(VENV)/.dev            ## lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev            ## what check would complain of, as far as a tool can mend it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev            ## the figures of this release, beside raw Redis and confluent_kafka
	$(BIN)/python loadtests/bench.py

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

clean:            ## everything that was made here
	@! test -x $(BIN)/python || ! test -d .kafka || $(KAFKA) stop
	rm -rf $(VENV) .kafka build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
