# Every target works in a fresh clone with nothing but Python 3.11, pip and make: it first makes .venv.
#
#   make demo   compile a network and run it without torch        make lint    ruff
#   make test   the test suite (N processes: JOBS=2)               make types   mypy, strict
#   make test-wild   models of other packages, which it installs
#   make dev    the environment alone                              make golden  rewrite tests/golden
#
# PYTHON=...      another interpreter, 3.11 or newer (constraints.txt pins what 3.11 gets).
# PIP_FLAGS=...   more options for pip, for instance an index whose torch brings no CUDA.

PYTHON ?= python3.11
VENV ?= .venv
PIP_FLAGS ?=
JOBS ?= 2
N ?= 1000
ROUNDS ?= 20
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
LINKS := dycl/passes dycl/hostgen dycl/targets
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) -c constraints.txt
# A file stays with one process (loadfile below): what its tests share is compiled once.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := dev
.PHONY: dev demo test test-slow test-wild lint format types golden fuzz fuzz-tests zoo-train bench bench-compile constraints clean
.DELETE_ON_ERROR:

dev: $(READY)

# A stamp, not the folder: an environment whose making was interrupted is made again.
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(READY): $(VENV)/.made pyproject.toml constraints.txt | $(LINKS)
	@echo 'installing into $(VENV): a minute or two'
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation -e '.[test,dev,zoo,tvm]'
	touch $@

# mypy does not follow the mapping of pyproject.toml, so the folders stand inside dycl/ too.
$(LINKS): dycl/%:
	ln -sfn ../$* $@

demo: $(READY)
	$(BIN)/dycl compile models_zoo/shallow_deep.py -o build/shallow_deep
	$(BIN)/python -m models_zoo.demo build/shallow_deep

test: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile -m 'not slow and not wild' $(ARGS)

test-slow: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile -m 'slow and not wild' $(ARGS)

# --no-deps: facenet-pytorch asks for a torch of years ago and runs on ours.
test-wild: $(READY)
	$(INSTALL) --no-build-isolation -e '.[test,wild]'
	$(INSTALL) --no-deps facenet-pytorch
	$(PYTEST) -n $(JOBS) --dist loadfile -m wild tests/wild $(ARGS)

# N random programs, other ones every time, against eager; counterexamples go to build/fuzz.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.long_run $(N) --jobs $(JOBS) $(ARGS)

# ROUNDS rounds of the randomised tests, each round with other examples.
fuzz-tests: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile -m '(hypothesis or fuzz) and not wild' --fuzz $(ROUNDS) $(ARGS)

golden: $(READY)
	$(PYTEST) --update-golden -k golden $(ARGS)
	git diff --stat -- tests/golden

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(READY) | $(LINKS)
	$(BIN)/mypy dycl

zoo-train: $(READY)
	$(BIN)/python -m models_zoo.train $(ARGS)

# One row: make bench ARGS='--model skipnet --threads 1'.
bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

bench-compile: $(READY)
	$(BIN)/python -m bench.compile_time $(ARGS)

# From the newest releases that pyproject.toml admits; torch's local label (+cpu) is not part of the pin.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet $(PIP_FLAGS) setuptools torch==2.13.0
	build/constraints/bin/python -m pip install --quiet $(PIP_FLAGS) --no-build-isolation -e '.[test,dev,zoo,tvm]' torch==2.13.0
	{ sed -n '/^#/p' constraints.txt; \
	  build/constraints/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints

clean:
	rm -rf $(VENV) build dist dycl.egg-info $(LINKS) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
