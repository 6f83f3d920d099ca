# make demo, make test: set up what they need, then do it. A virtual environment grows in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Many small matrices: threads inside them only wait for each other.
export OPENBLAS_NUM_THREADS ?= 1

# Files in their order: the longest tests, alone in their files, would else come last, beside idle processes.
BY_FILE := --dist loadfile --no-loadscope-reorder

# These lie beside the environment and not in it: what is installed there is the text that `make demo` reads.
DOCS := .docs
XDIST := .xdist
OUTSIDE := .outside
GUIDED := .guided

.PHONY: demo test test-slow test-outside fuzz kill lint bench docs clean

demo: $(READY)                 ## raw text on this machine to a measured answer, then the report
	$(BIN)/curate run manifests/quickstart.toml --lock report/quickstart/quickstart.lock.json

test: $(READY) $(XDIST)/.ready ## all tests but the slow ones, on several cores
	PYTHONPATH=$(XDIST) $(BIN)/python -m pytest -n auto --maxprocesses 4 $(BY_FILE) -m "not slow"

test-slow: $(READY) $(XDIST)/.ready ## the slow ones as well
	PYTHONPATH=$(XDIST) $(BIN)/python -m pytest -n auto --maxprocesses 4 $(BY_FILE)

test-outside: $(OUTSIDE)/.ready ## corpora opened by the libraries of others, in an environment of its own
	$(OUTSIDE)/bin/python -m pytest -rs tests/curate/test_opening_elsewhere.py tests/curate/test_export_corpus.py tests/curate/test_publish.py

fuzz: $(READY) $(GUIDED)/.ready ## damage to every kind of file in a store, guided inputs to readers: FUZZ_TRIES=1000 GUIDED=300000
	PYTHONPATH=.:tests:$(GUIDED) $(BIN)/python -m faults damage guided

kill: $(READY)                 ## kills at random moments, two processes at once, shares: KILLS=200 PAIRS=10 SHARES=10 FAULTS_SEED=0
	PYTHONPATH=.:tests $(BIN)/python -m faults kills pairs shares

lint: $(READY)                 ## style and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: $(READY)                ## speed tables; CURATE_DATA=folder adds the benches that need real data
	for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

docs: $(READY) $(DOCS)/.ready  ## the site, in site/
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=.:$(DOCS) $(BIN)/python -m mkdocs build --strict --quiet

$(DOCS)/.ready: pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(DOCS) \
	  $$($(BIN)/python docs/reference.py docs)
	touch $@

$(XDIST)/.ready: pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target $(XDIST) \
	  "pytest-xdist>=3.7" "execnet>=2.1" $$($(BIN)/python docs/reference.py papers)
	touch $@

$(OUTSIDE)/.ready: pyproject.toml
	test -x $(OUTSIDE)/bin/python || $(PYTHON) -m venv $(OUTSIDE)
	$(OUTSIDE)/bin/pip install --quiet --disable-pip-version-check --editable ".[dev,outside]"
	touch $@

$(GUIDED)/.ready: pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target $(GUIDED) "atheris>=3.0" \
	  || echo "guided inputs are skipped: atheris does not install here"
	mkdir -p $(GUIDED) && touch $@

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:                         ## results, not the environment
	rm -rf .curate report site
