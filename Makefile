PYTHON ?= python3
UV ?= uv

BIN := .venv/bin
RUN := run
# Twice quiet: warnings about the machine's own pip configuration are not ours to print.
PIP := $(BIN)/python -m pip -qq --no-input --disable-pip-version-check
# Tests of one file stay together: they share what was compiled for them.
SHARED := --numprocesses auto --maxprocesses 4 --dist loadfile
# Those that build for CPUs in the mode of the tests, which --exact changes (tests/mode.py).
BY_MODE = $(shell grep -lE '\b(host|built|kept)\((devices.*)?\)|\bmode\.' tests/test_*.py)
EDITABLE := --no-build-isolation --editable
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --fork-strategy fewest \
    --custom-compile-command "make lock"

.SILENT:
.DELETE_ON_ERROR:
# Tests start hundreds of processes. Where Python keeps no bytecode, each compiles TVM's modules.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup cuda train test test-all test-torch test-gpu gpu-bundle lint types format lock clean

help:        ## this list
	sed -n 's/^\([a-z-]*\): .*## /  make \1	/p' Makefile | expand -t 20

setup: .venv/ready  ## a private .venv with exactly what requirements.lock says

cuda: .venv/cuda  ## add what CUDA builds need without a toolkit, and GPUs to run them

train: setup  ## compile the paper's net for two devices and train it for about five minutes
	mkdir -p $(RUN)
	$(BIN)/python -m frontend.alexnet --batch 32 > $(RUN)/alexnet.ir
	$(BIN)/python -m passes split,place,transfer $(RUN)/alexnet.ir \
	    | $(BIN)/python -m ir.dot --svg $(RUN)/alexnet.svg
	$(BIN)/python -m codegen.build $(RUN)/alexnet.ir --devices cpu:0,cpu:1 \
	    -o $(RUN)/plan.json
	$(BIN)/python -m runtime.train $(RUN)/plan.json --out $(RUN) --minutes 5
	echo "picture     $(RUN)/alexnet.svg"

test: setup lint types  ## lint, types and the tests, sampling the large families of cases
	$(BIN)/pytest $(SHARED)

test-all: setup lint types  ## the same with every case, then without minimal filtering
	$(BIN)/pytest $(SHARED) --full
	$(BIN)/pytest $(SHARED) --exact $(BY_MODE)

test-torch: .venv/torch  ## the comparisons with PyTorch, which is installed for them
	$(BIN)/pytest -m torch

test-gpu: cuda  ## build for this machine's GPU and test there: kernels, plans, PyTorch, sanitizer
	$(BIN)/python -m tests.gpu.build $(RUN)/gpu
	$(BIN)/pytest tests/gpu -m gpu --plans $(RUN)/gpu

gpu-bundle: cuda  ## pack these tests and the benchmark for a GPU machine without network
	$(BIN)/python -m benchmarks.bundle $(RUN)/gpu-bundle

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check

types: setup  ## mypy
	$(BIN)/mypy

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

lock:        ## bring both locks up to date with pyproject.toml
	command -v $(UV) > /dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(COMPILE) --extra demo --extra dev --output-file requirements.lock pyproject.toml
	$(PYTHON) -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	    print(*project["optional-dependencies"]["cuda"], sep="\n")' \
	    | $(COMPILE) --python-version 3.11 --constraint requirements.lock \
	    --output-file requirements-cuda.lock -

clean:       ## remove .venv and caches, keep plans and runs (run/)
	rm -rf .venv .*_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/locked: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	    echo "Tandem needs Python 3.11 to 3.14, and $(PYTHON) is not one;" \
	         "name one that is: make setup PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --no-compile --require-hashes --requirement requirements.lock
	touch $@

.venv/ready: .venv/locked pyproject.toml
	$(PIP) install --no-deps --no-index $(EDITABLE) .
	touch $@

.venv/cuda: requirements-cuda.lock .venv/ready
	$(PIP) install --no-compile --require-hashes --requirement requirements-cuda.lock
	touch $@

# PyTorch's builds differ from machine to machine, so its hash cannot be locked; the versions of
# everything else still are.
.venv/torch: .venv/ready
	sed -n 's/^\(.*==.*\) \\$$/\1/p' requirements.lock > .venv/pins
	$(PIP) install --constraint .venv/pins $(EDITABLE) '.[bench]'
	touch $@
