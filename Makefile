# Everything starts from here, on a fresh Debian 12: each target first installs what is missing and
# builds codezero into .venv/, after which .venv/bin/codezero is the command.

PYTHON ?= python3
# What the tests of the training part run with; codezero itself takes any from pyproject.toml on.
TORCH ?= torch==2.13.0
BIN := .venv/bin
NATIVE := CMakeLists.txt pyproject.toml $(wildcard native/*.* native/driver/*)
SMOKE := build/smoke

.PHONY: demo test check-long wheel smoke bench results fuzz reference-corpus lint format clean

demo: .venv/installed
	$(BIN)/codezero doctor
	$(BIN)/codezero optimize examples/*.c examples/*.cpp examples/*.f90 examples/*.rs
	$(BIN)/codezero optimize --objective instructions --protocol paper examples/*.c

test: .venv/installed
	$(BIN)/pytest tests

# The wheel in an empty environment outside the source tree, without LLVM's libraries in reach.
smoke: wheel
	rm -rf $(SMOKE) && $(PYTHON) -m venv $(SMOKE)
	$(SMOKE)/bin/pip install -q dist/codezero-*.whl
	cp scripts/smoke.py $(SMOKE)/ && cd $(SMOKE) && bin/python smoke.py

wheel: .venv/installed
	rm -rf dist
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .
	$(BIN)/python scripts/tag_wheel.py dist/codezero-*.whl

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

FUZZ ?= $(wildcard examples/*.c examples/*.cpp examples/*.m examples/*.f90 examples/*.rs)
fuzz: .venv/installed
	$(BIN)/codezero fuzz $(FUZZ) --execute

# The suites are docs/suites.md's, the corpus docs/corpus.md's.
SUITES ?= $(wildcard build/held-out/blas build/held-out/openblas build/held-out/linux \
  build/held-out/opencv build/held-out/numeric)
CORPUS ?= build/reference.parquet
results: .venv/installed
	$(BIN)/python benchmarks/results.py $(SUITES) $(CORPUS) -o docs/results.md
	$(BIN)/python benchmarks/results.py $(SUITES) $(CORPUS) -o docs/results-alone.md \
	  --jobs 1 --policies agent agent:10x agent:1s

# Hours; see docs/corpus.md.
reference-corpus: .venv/installed
	scripts/build-reference-corpus.sh

# Longer than a test may take: the space is called sound when this passes.
check-long: test fuzz
	$(BIN)/pytest tests -m long

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	clang-format-22 --dry-run --Werror native/*.cpp native/*.h native/driver/*

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	clang-format-22 -i native/*.cpp native/*.h native/driver/*

.venv/installed: $(NATIVE) scripts/install-system-packages.sh
	scripts/install-system-packages.sh
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --upgrade "pip>=25.1"
	$(BIN)/pip install -q "scikit-build-core>=0.11" "nanobind>=3.0" ninja wheel
	$(BIN)/pip install -q --no-build-isolation -Cbuild-dir=build/editable --editable .
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q --group dev
	touch $@

clean:
	rm -rf .venv build dist
