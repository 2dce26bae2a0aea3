# `make demo` and `make test` do all the set-up themselves: a virtual environment with the pinned dependencies.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) .ci/install.py --constraint constraints.txt --editable
DEMO := build/demo
# Jobs on a Ray (tests/jobs/conftest.py) run one after the other. They start processes and wait for them, which leaves
# half of the cores idle: the other tests run beside them, at a lower priority, and their output follows when they end.
LANE := test-ray
BESIDE := test-units
# A file in one process, slow files not left to the end; one process more than cores, as some tests wait for servers and
# browsers.
PROCESSES := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
SIDE_BY_SIDE := --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
# Rewritten tests and our own modules are compiled once, and not by every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE
ONE_THREAD := OMP_NUM_THREADS=1  # each of them: more would wait for one another

.PHONY: demo bench-gpu test lane beside test-units test-ray test-cluster test-gpu test-fast lint lint-cluster format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## phantom archive -> manifest -> training -> screening -> tables and a sheet in build/demo
	$(PY) jobs/demo.py --output $(DEMO)

test: $(VENV)/.installed  ## all tests, slow ones too, but for those on a cluster
	$(MAKE) --no-print-directory --jobs=2 lane beside

lane: $(VENV)/.installed
	set -e; for each in $(LANE); do $(MAKE) $$each; done

beside: $(VENV)/.installed
	mkdir -p build; (set -e; for each in $(BESIDE); do nice $(MAKE) $$each; done) > build/beside.log 2>&1; \
		status=$$?; cat build/beside.log; exit $$status

test-units: $(VENV)/.installed  ## tests that need no Ray to themselves, side by side
	$(ONE_THREAD) $(PY) -m pytest -m 'not ray and not cluster' $(SIDE_BY_SIDE)

test-ray: $(VENV)/.installed  ## jobs on a Ray, one after the other
	$(PY) -m pytest -m 'ray and not cluster' tests/jobs

test-cluster: $(VENV)/.installed  ## jobs submitted to a cluster of three nodes on this machine, nodes lost; about 10 minutes
	$(PY) -m pytest tests/jobs/test_cluster.py

test-gpu: $(VENV)/.installed  ## what a GPU changes; skipped where there is none
	$(PY) -m pytest tests/test_gpu.py

bench-gpu: $(VENV)/.installed  ## how fast a GPU is, beside the bare network and the card's peak; needs one, about 10 minutes
	$(PY) -m tests.benchmarks.gpu --output build/bench-gpu

test-fast: $(VENV)/.installed  ## unit tests only
	$(ONE_THREAD) $(PY) -m pytest -m 'not slow' $(SIDE_BY_SIDE)

lint: $(VENV)/.installed  ## style and types; warnings are errors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lint-cluster: $(VENV)/.installed  ## the files of cluster/, by Kubernetes' schemas and Docker's linter too
	$(INSTALL) '.[cluster-lint]'
	$(PY) -m pytest tests/cluster

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache
