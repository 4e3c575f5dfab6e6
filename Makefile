# `make demo` plans with the shipped world model; `make test` runs everything CI runs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "worldnav needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/python -m planners.demo

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pydoclint --quiet data_tools worldmodel envs planners
	$(BIN)/pyright

# Two workers of one thread each, or they fight for the cores; a file stays on one worker, so that what its tests
# share (a simulator, Ray) is started once.
test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not compiled"
	JAXTYPING_DISABLE=1 $(BIN)/python -m pytest -m "compiled and not gpu"

clean:
	rm -rf .venv build dist *.egg-info outputs .pytest_cache .ruff_cache .hypothesis
