# `make demo` and `make check` do all of their own set-up; everything else builds on the environment that they make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo check check-slow bench clean

demo: .venv/.demo  ## index real media, search it, write a page and say where to look
	$(BIN)/lightmeter assets add tuxpaint-stamps || echo 'going on without Tux Paint stamps'
	$(BIN)/lightmeter demo --out demo

check: .venv/.dev  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

check-slow: .venv/.slow  ## the long proofs; figures go to docs/results
	$(BIN)/pytest -m slow

bench: .venv/.bench  ## the benchmarks; ratios to the terminal, JSON to docs/results
	$(BIN)/lightmeter assets add tuxpaint-stamps minilm opencv-doc
	for bench in benchmarks/*.py; do $(BIN)/python $$bench || exit 1; done

clean:
	rm -rf .venv demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[demo]'
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch $@ .venv/.demo

.venv/.slow: .venv/.dev
	$(PIP) -e '.[ray,sim]'
	ldconfig -p | grep -q libOSMesa || apt-get install -y --no-install-recommends libosmesa6 || \
	  echo 'no libosmesa6 here: proofs that simulate will be skipped'
	touch $@

.venv/.bench: .venv/.dev
	$(PIP) -e '.[bench]'
	touch $@
