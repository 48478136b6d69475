# Everything a newcomer needs: `make demo`, `make test`. Needs Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: demo test test-fast test-extras test-browser web lint bench clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	touch $@

demo: $(VENV)/installed ## the whole way on a toy world, about five minutes on two cores
	$(BIN)/earthtone demo --out demo $(DEMO_ARGS)

$(VENV)/extras: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[all,export,umap,mteb,ray,torchgeo]" --group dev --group extras
	touch $@

test: $(VENV)/installed lint ## everything that needs no further package, 20 to 30 minutes on two cores
	$(BIN)/python -m pytest -n 2 -m "not extras and not browser" $(TEST_ARGS)

test-extras: $(VENV)/extras ## what other programs make of our files, ONNX, a cluster: under 15 minutes
	$(BIN)/python -m pytest -n 2 -m extras $(TEST_ARGS)

test-fast: $(VENV)/installed ## without what is marked slow, about eight minutes on two cores
	$(BIN)/python -m pytest -n 2 -m "not slow and not extras and not browser" $(TEST_ARGS)

tests/browser/node_modules: tests/browser/package-lock.json
	cd tests/browser && npm ci --silent
	touch $@

test-browser: $(VENV)/installed tests/browser/node_modules ## the page in Chromium, with Node 20 or newer: under 4 minutes
	$(BIN)/python -m pytest -m browser tests/browser $(TEST_ARGS)

web: ## the page from its source in web/, with Node 20 or newer
	cd web && npm ci --silent && npm run --silent build

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/structure.py check

bench: $(VENV)/installed ## ratios against plain baselines, under 15 minutes; BENCH_ARGS=--full for the large sizes
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
