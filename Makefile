# Everything is done inside $(VENV), which is built when it is first needed and brought up to date only when one of
# $(INPUTS) changes. Choose another interpreter with `make test PYTHON=python3.12`.
PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
DEMO    := results/demo
PEERS   := .venv-peers

BIN    := $(VENV)/bin
INPUTS := setup.cfg pyproject.toml constraints.txt
STAMP  := $(VENV)/.installed
export PIP_CONSTRAINT := constraints.txt

# One torch thread in each test worker: two threads that compete for a core are many times slower than one.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)
TRAIN  := $(BIN)/landscape train --data digits --model mlp --model-set hidden=64,64 \
	--optimizer sgd --set lr=0.1 --set momentum=0.9 --epochs 30 --batch-size 128 --overwrite

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lint format docs bench-peers build clean

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name text; \
		do printf '  make %-11s %s\n' "$$name" "$$text"; done

demo: $(STAMP)-base ## train two networks on digits, connect them and draw the curve, into results/demo/
	@mkdir -p $(DEMO)
	$(TRAIN) --seed 0 --out $(DEMO)/a.safetensors
	$(TRAIN) --seed 1 --out $(DEMO)/b.safetensors
	$(BIN)/landscape connect $(DEMO)/a.safetensors $(DEMO)/b.safetensors --curve bezier --curve polyline --plane 21 \
		--out $(DEMO)/connect.zarr --overwrite
	$(BIN)/landscape show $(DEMO)/connect.zarr --figure $(DEMO)/connect.pdf --overwrite
	$(BIN)/landscape show $(DEMO)/connect.zarr --figure $(DEMO)/connect.png --overwrite > /dev/null
	@echo "The figure is $(DEMO)/connect.pdf (and connect.png); the numbers are in $(DEMO)/connect.zarr"

test: $(STAMP)-test ## run the tests, but for the slow ones
	$(PYTEST) -m "not slow and not gpu"

test-slow: $(STAMP)-test ## run the slow tests (none of them is no failure: pytest says 5 then)
	$(PYTEST) -m "slow and not gpu" || test $$? -eq 5

lint: $(STAMP)-lint ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)-lint ## write the format and the repairs that are safe
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)-docs ## build the pages into docs/_build/html/
	$(BIN)/sphinx-build -W --keep-going --quiet docs docs/_build/html
	@echo "The pages begin at docs/_build/html/index.html"

bench-peers: $(PEERS)/.installed ## install the packages that benchmarks compare us with, into an environment of their own

build: $(STAMP)-base ## build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build

clean: ## remove what the other targets made, but for results/ and the environment
	rm -rf build dist docs/_build docs/api docs/gallery .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage *.egg-info
	find landscape cli experiments tests docs -name __pycache__ -prune -exec rm -rf {} +

# Leave setuptools' default editable mode as it is: `compat` and `strict` do not find `landscape.cli`.
$(STAMP)-base: $(INPUTS) | $(STAMP)-venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(STAMP)-test $(STAMP)-lint $(STAMP)-docs: $(STAMP)-%: $(INPUTS) | $(STAMP)-venv
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "landscape needs Python 3.11 or later: try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Peers are never dependencies: nothing of ours imports them but benchmarks, and those say what is missing.
$(PEERS)/.installed: $(INPUTS)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable . pytorch-optimizer==4.1.0 pyhessian==0.1 loss-landscapes==3.0.6
	@touch $@
