# The Python to build .venv with; `make PYTHON=python3.12 demo` takes another.
PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: demo test lint data clean

# Shows what the shipped weights do, on photographs that come with scikit-image.
demo: .venv/installed
	$(VENV) validate.py --test-sets Samples --exp-name demo

test: .venv/installed
	$(VENV) -m pytest

lint: .venv/installed
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .

# `make data` downloads the image sets, `make data SOURCE=folder` imports them.
data: .venv/installed
	$(VENV) prepare_dataset.py $(if $(SOURCE),--source $(SOURCE))

.venv/installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --disable-pip-version-check -r requirements.txt pytest ruff -c constraints.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache __pycache__ tests/__pycache__
