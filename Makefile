# Every target sets up what it needs, in a virtual environment inside the checkout.
PYTHON ?= python3
BIN := .venv/bin
KERAS_BACKEND ?= tensorflow
PYTEST := KERAS_BACKEND=$(KERAS_BACKEND) OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest -n 2 --dist worksteal -q --durations=10 --durations-min=5
WHEEL_PIP := $(BIN)/pip --disable-pip-version-check --python build/wheel/bin/python
PICTURES := training.png mirrored.png moments.png s_scale.png score_by_order.png diagnosis_before.png diagnosis_after.png
FOR_TESTS := .venv/with-dev $(patsubst %,.venv/with-%,$(filter jax torch,$(KERAS_BACKEND)))

.PHONY: demo pictures test test-slow test-all test-random test-backends lint types wheel docs examples notebook benchmarks bench-learning paper paper-training clean

demo: .venv/with-examples
	$(BIN)/python examples/quickstart.py

# Draws the pictures of README and docs that need no benchmark: the same bits on the same machine.
pictures: .venv/with-examples
	$(BIN)/python examples/quickstart.py --output output/pictures
	$(BIN)/python examples/diagnose_model.py --output output/pictures
	cp $(addprefix output/pictures/,$(PICTURES)) docs

# The quick tests, on TensorFlow unless KERAS_BACKEND says otherwise, as do the next two.
test: $(FOR_TESTS)
	$(PYTEST) -m "not slow"

test-slow: $(FOR_TESTS)
	$(PYTEST) -m slow

test-all: $(FOR_TESTS)
	$(PYTEST)

# Random models by the thousand, which takes half an hour; RANDOM_MODELS=100 for fewer.
test-random: $(FOR_TESTS)
	RANDOM_MODELS=$(or $(RANDOM_MODELS),1000) $(PYTEST) tests/project/test_random_models.py

test-backends:
	$(MAKE) test-all KERAS_BACKEND=tensorflow
	$(MAKE) test-all KERAS_BACKEND=jax
	$(MAKE) test-all KERAS_BACKEND=torch

lint: .venv/with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/with-dev
	$(BIN)/mypy

# The wheel as a user gets it: built in isolation, and every module but the plots, which are an extra,
# imported from outside the checkout, where there is nothing but what its metadata requires.
wheel: .venv/with-dev
	rm -rf build/wheel dist
	$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	$(PYTHON) -m venv --without-pip build/wheel
	$(WHEEL_PIP) install --quiet --no-deps dist/*.whl
	$(BIN)/python tests/project/link_requirements.py build/wheel keras_fracinit
	$(WHEEL_PIP) check
	cd build && TF_CPP_MIN_LOG_LEVEL=3 wheel/bin/python -W ignore -c "import pkgutil, keras_fracinit as kf; \
		names = [m.name for m in pkgutil.walk_packages(kf.__path__, 'keras_fracinit.')]; \
		[__import__(name) for name in names if '.plots' not in name]; \
		print(kf.__file__, kf.FracReLU(s=1.0).describe((64, 64)))"
	cd build && wheel/bin/keras-fracinit --version
	test -f build/wheel/lib/python*/site-packages/keras_fracinit/py.typed

# The site in build/site. A warning is an error (not with --quiet, which does not count them).
docs: .venv/with-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	! grep -rlE '<(script|link|img|iframe)[^>]*(src|href)="?(https?:)?//' build/site --include='*.html'
	test -f build/site/search/search_index.js # what the search reads where the pages come from the disk

examples: .venv/with-dev
	$(BIN)/python examples/quickstart.py --short --output output/short
	$(BIN)/python examples/tune_existing_model.py --trials 3 --directory output/short
	$(BIN)/python examples/diagnose_model.py --output output/short
	$(BIN)/python examples/deep_plain_network.py --short --output output/short
	$(BIN)/jupyter-execute examples/first_steps.ipynb

# Runs the notebook and keeps what it shows; its pictures change with every run.
notebook: .venv/with-dev
	$(BIN)/jupyter-execute --inplace --NotebookClient.record_timing=False examples/first_steps.ipynb

benchmarks: .venv/with-dev
	$(BIN)/python benchmarks/initialization.py
	$(BIN)/python benchmarks/moment_logger.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/collapse.py
	$(BIN)/python benchmarks/whole_model.py
	$(BIN)/python benchmarks/gpu.py --short
	$(BIN)/python benchmarks/smooth_drift.py

# Hours. Stopped, it goes on where it was; OPTIONS="--only 'mnist-relu-d20-*' --threads 1".
bench-learning: .venv/with-dev .venv/with-jax
	$(BIN)/python benchmarks/learning.py $(OPTIONS)

# The figures of the paper, redrawn. A minute or two on one core.
paper: .venv/with-dev
	for n in 1 2 4 5 6; do OMP_NUM_THREADS=1 $(BIN)/python examples/paper/fig$$n.py || exit 1; done

# 80 minutes on two cores. Stopped, it goes on where it was; OPTIONS="--report", OPTIONS="--time".
paper-training: .venv/with-dev .venv/with-jax
	$(BIN)/python examples/paper/training.py $(OPTIONS)

clean:
	rm -rf .venv build dist output

# A stamp for each set of extras, written once the installation is whole.
.venv/with-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
