# What a person or CI runs here. Only Python 3.11 or newer, with pip and venv, and make are assumed on the machine.
# Every step leaves a stamp, so the second run of any target starts at once.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
# How many of the test files run at once: one more than the processors of a small machine, since many tests wait.
JOBS ?= 3

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python

SIDE_BY_SIDE := -n $(JOBS) --dist loadfile
# Of the matrix of stores and workers, `make test` runs these cells, for time; `make matrix` has those of SQLite too.
CELLS := memory,redis-x4
# The other Python that `make test` runs the parts on that need no other program, the newest that every user may
# have; `make pythons` takes all there are.
OTHERS := 3.13
MATRIX := tests/clients tests/conformance tests/serving/client_requests/test_matrix.py

.DEFAULT_GOAL := help
.PHONY: help run test matrix pythons lint fast faults soak bench site dist tools clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

run: $(VENV)/.installed  ## serve the quickstart on http://127.0.0.1:8000/mcp
	$(BIN)/enfilade run examples/quickstart/server.py --transport http --host $(HOST) --port $(PORT) --path /mcp

test: lint tools  ## everything CI checks: style, types, layers, all tests with real clients and the conformance suite; another Python
	@# The other Python runs beside the tests of this one, in one process; what it has to say comes before the summary
	@# of these, unless it takes longer or fails.
	$(PY) tests/support/pythons.py --jobs $(JOBS) $(OTHERS) & other=$$!; \
	ENFILADE_TOOLS=required ENFILADE_MATRIX=$${ENFILADE_MATRIX:-$(CELLS)} $(PY) -m pytest $(SIDE_BY_SIDE); tests=$$?; \
	wait $$other || { echo "make: the tests on another Python have failed; see above"; exit 1; }; exit $$tests

matrix: tools  ## the real clients and the conformance suite alone: every kind of store, one worker and four
	ENFILADE_TOOLS=required ENFILADE_MATRIX=all $(PY) -m pytest $(SIDE_BY_SIDE) $(MATRIX)

pythons: $(VENV)/.dev  ## the parts that need no other program, on every Python that is found, with warnings as errors
	$(PY) tests/support/pythons.py --jobs $(JOBS)

lint: $(VENV)/.dev  ## style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.dev  ## the tests that need no other program and no network
	$(PY) -m pytest --ignore tests/clients --ignore tests/conformance --ignore tests/test_packaging.py

faults: $(VENV)/.dev  ## kill, cut, starve and stop real servers, 100 times each: some hours
	ENFILADE_TOOLS=required ENFILADE_FAULT_LOOPS=$${ENFILADE_FAULT_LOOPS:-100} $(PY) -m pytest tests/faults

soak: $(VENV)/.dev  ## mixed traffic for ten minutes on each kind of store, in which nothing may grow
	PYTHONPATH=tests $(PY) tests/measurements/soak.py $(STORE)

bench: $(VENV)/.dev  ## measure beside the limit, the official SDK and FastMCP, with wrk: half an hour, alone on the machine
	$(PY) benchmarks/run.py $(BENCH); held=$$?; $(PY) tests/docs/peers.py && exit $$held

site: $(VENV)/.dev  ## build the documentation into build/site; a warning is an error
	$(BIN)/zensical build --clean --strict

dist: $(VENV)/.dev  ## build the sdist and the wheel into dist/, and check them as an index would; see docs/releasing.md
	rm -rf dist
	$(PY) -m hatchling build -d dist
	$(PY) -m twine check --strict dist/*

tools: $(VENV)/.dev  ## install the real clients and the conformance suite into .tools/
	$(PY) tests/support/tooling.py

clean:  ## remove everything that was installed or built here
	rm -rf $(VENV) .pythons .tools .bench build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is brought up to date first: dependency groups need pip 25.1, and Python 3.11 may come with an older one.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Enfilade needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml
	$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml
	$(PY) -m pip install --quiet --editable . --group dev
	@touch $(VENV)/.installed $@
