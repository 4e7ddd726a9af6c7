# Every target sets up what it needs, in a virtual environment inside the checkout.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest -n 2 -q

.PHONY: demo test test-backends lint types benchmarks clean

demo: .venv/with-examples
	$(BIN)/python examples/quickstart.py

test: .venv/with-dev
	KERAS_BACKEND=tensorflow $(PYTEST)

test-backends: .venv/with-dev .venv/with-jax .venv/with-torch
	KERAS_BACKEND=jax $(PYTEST)
	KERAS_BACKEND=torch $(PYTEST)

lint: .venv/with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/with-dev
	$(BIN)/mypy

benchmarks: .venv/with-dev
	$(BIN)/python benchmarks/initialization.py

clean:
	rm -rf .venv build dist output

# A stamp for each set of extras, written once the installation is whole.
.venv/with-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
