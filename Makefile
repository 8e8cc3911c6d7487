# Python ≥ 3.11, git and make are all that a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
READY := $(VENV)/.ready

FLOORS := .venv-floors
DOCS := .venv-docs

.PHONY: help setup demo ladder test test-later test-floors check bench docs dist release-check clean

help:
	@echo "make demo   set up, train the worked example at four sizes, decide, report"
	@echo "make ladder try the example's prompt, examples in it and fine-tune, from the cheapest up"
	@echo "make test   set up and run the tests"
	@echo "make test-later   the tests of hosted models on 1 March 2027"
	@echo "make check  ruff, mypy --strict, import contracts"
	@echo "make bench  benchmarks; writes benchmarks/results.json"
	@echo "make test-floors  the fast tests on the lowest versions of the dependencies, in $(FLOORS)"
	@echo "make docs   the documentation's site, in site/; a warning is an error"
	@echo "make dist   wheel and sdist, in dist/"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# exit status 1 is a decision other than GO, which a demonstration may well end with; hypothesis serves the tests only
demo: $(READY)
	$(BIN)/python -m pytest suites/ --candidate=qlora-r16 -p no:hypothesispytest || test $$? -eq 1

# without NEBIUS_API_KEY the hosted fine-tune is named as left out
ladder: $(READY)
	$(BIN)/python -m pytest suites/ --ladder --candidate=prompted --candidate='few*' --candidate=nearest-5 --candidate=handbook \
		--candidate=qlora-r16 --candidate=nebius-8b -p no:hypothesispytest || test $$? -eq 1

# a worker needs about 3 GB; each computes on one core; what one process compiles the next ones find
test: $(READY)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -p randomly --numprocesses=$(WORKERS) --dist=worksteal

# hosted tests on a day after OpenAI's models have ended
test-later: $(READY)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --today=2027-03-01 -m 'not slow' -p randomly \
		--numprocesses=$(WORKERS) --dist=worksteal tests/training tests/testing tests/plugin/test_hosted_*.py \
		tests/run/test_planning*.py tests/cli/test_jobs_command.py tests/cli/test_init_command.py

# old releases call what newer ones of their own dependencies deprecate: such warnings are no errors here
test-floors:
	test -x $(FLOORS)/bin/python || $(PYTHON) -m venv $(FLOORS)
	$(PYTHON) .ci/floors.py > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(FLOORS)/constraints.txt --editable '.[test]'
	OMP_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest -m 'not slow' -W default::DeprecationWarning \
		-W default::FutureWarning -p randomly --numprocesses=$(WORKERS) --dist=worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks

# docstrings are read from the source: harness is not installed there. Of a fault in one Zensical only tells
docs: $(DOCS)/.ready
	@$(DOCS)/bin/zensical build --clean --strict > $(DOCS)/log 2>&1; status=$$?; cat $(DOCS)/log; \
		if grep -q '^griffe:' $(DOCS)/log; then echo "a docstring above is at fault"; exit 1; fi; exit $$status

$(DOCS)/.ready: pyproject.toml constraints.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group docs
	touch $@

dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# what a release cannot be made with: the placeholder of the repository's owner, and no addresses on PyPI
release-check:
	@! grep -rnI 'OWNER/' README.md CONTRIBUTING.md action.yml ci docs || { echo 'write the owner of the repository there'; exit 1; }
	@grep -q '^\[project.urls\]' pyproject.toml || { echo 'pyproject.toml: [project.urls] is missing'; exit 1; }

clean:
	rm -rf .harness .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site
