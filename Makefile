# Each target makes .venv and installs what it needs by itself; a second run is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most tests wait for brokers, so there may be more workers than processors; each has its own Kafka.
PARALLEL ?= --numprocesses=4 --dist=worksteal

.PHONY: demo test faults lint format docs bench chaos clean

demo: $(VENV)/.run
	$(BIN)/igwn-style-client demo

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term $(ARGS)

faults: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL) -m faults $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.bench
	$(BIN)/python -m benchmarks.chaos $(ARGS)

clean:
	rm -rf $(VENV) docs/_build docs/api build *.egg-info .coverage*

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,compat]'
	touch $@

$(VENV)/.lint: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[lint]'
	touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(VENV)/.bench: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench,compat,test]'
	touch $@
