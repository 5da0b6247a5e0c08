# `make demo` and `make check` do all of their own set-up; everything else builds on the environment that they make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo check check-slow bench future-codes clean

demo: .venv/.demo  ## index real media, search it, write a page and say where to look
	$(BIN)/lightmeter assets add tuxpaint-stamps || echo 'going on without Tux Paint stamps'
	$(BIN)/lightmeter demo --out demo

check: .venv/.dev  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

check-slow: .venv/.slow  ## the long proofs; figures go to docs/results
	$(BIN)/pytest -m slow

bench: .venv/.bench  ## the benchmarks; ratios to the terminal, JSON to docs/results
	$(BIN)/lightmeter assets add tuxpaint-stamps minilm opencv-doc
	for bench in benchmarks/*.py; do $(BIN)/python $$bench || exit 1; done

FUTURE := build/future-codes
PREDICTOR := future/blank=1.0,motion=1.0,layers=0,width=48
future-codes: .venv/.slow  ## the packaged video encoder from nothing, about 50 CPU-minutes; stopped, it goes on
	$(BIN)/lightmeter segment simulate $(FUTURE)/clips --clips 1000 --seed 1
	$(BIN)/lightmeter segment simulate $(FUTURE)/held-out --clips 150 --clips-a-scene 1 --seed 9001
	$(BIN)/lightmeter segment pretrain $(FUTURE)/clips --held-out $(FUTURE)/held-out --out $(FUTURE)/tokens --steps 900 \
	  --net 'vqvae/of=changes,frames=8,every=2,downsample=[4,2,2],hiddens=48,layers=0,codes=256,least_use=0.1'
	$(BIN)/lightmeter segment pretrain $(FUTURE)/clips --held-out $(FUTURE)/held-out --out $(FUTURE)/net --steps 2000 \
	  --tokens $(FUTURE)/tokens --net '$(PREDICTOR)'
	$(BIN)/lightmeter segment pretrain $(FUTURE)/clips --held-out $(FUTURE)/held-out --out $(FUTURE)/net2 --steps 2200 \
	  --tokens $(FUTURE)/tokens --net '$(PREDICTOR)' --from $(FUTURE)/net --seed 2
	$(BIN)/python -c "from lightmeter.encoders.pretraining.packing import pack; \
	  pack('$(FUTURE)/net2', 'src/lightmeter/encoders/weights/future_codes', \
	  before=['$(FUTURE)/tokens', '$(FUTURE)/net'], clips=['$(FUTURE)/clips', '$(FUTURE)/held-out'])"
	$(BIN)/python benchmarks/future_codes.py $(FUTURE)

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
