# Two commands matter: `make demo` and `make test`. Each installs what it needs into $(VENV) first.
PYTHON ?= python3
VENV ?= .venv
LOWEST ?= .venv-lowest
BIN := $(VENV)/bin

.PHONY: demo test test-all test-lowest lint check faults faults-service bench-store bench-extract bench-train gpu table clean

demo: $(VENV)/.installed
	$(BIN)/crossan demo

# Hundreds of processes import the package: where PYTHONDONTWRITEBYTECODE is set, as in many images, each would compile it anew.
test: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# With the tests marked exhaustive: 43 minutes on two cores and a disk.
test-all: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 CROSSAN_TESTS=all $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

# The lowest versions that pyproject.toml allows, on the tests that extract, store and train from end to end, and those of the service's door.
# Deprecation warnings of old releases are no faults of ours.
test-lowest: $(LOWEST)/.installed
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -o filterwarnings= tests/common/config tests/common/datasets/test_importers.py tests/common/datasets/test_tables.py tests/common/datasets/test_updating.py tests/extract/media/test_decoders.py tests/integration/test_extract_cli.py tests/integration/test_train_cli.py tests/train/service/nights tests/train/service/web/test_guard.py tests/train/service/web/test_runs.py

# The fault tests at their full counts: about an hour on two cores; docs/benchmarks/faults.md holds a result. Then every other test
# that tries fewer times in the ordinary suite.
faults: $(VENV)/.installed-dev
	CROSSAN_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 36000 tests/faults tests/common/stores/sharing
	CROSSAN_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 36000 $$(grep -rlE 'hypothesis|CROSSAN_FAULTS|support.counts' tests --include='test_*.py' | grep -v -e tests/faults -e tests/common/stores/sharing -e tests/train/service)

# The same of the training service; docs/benchmarks/service.md holds a result.
faults-service: $(VENV)/.installed-dev
	CROSSAN_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 36000 tests/train/service tests/faults/service

# Passive: idle threads of torch's would spin on the cores that the one measured next needs (docs/benchmarks/store.md).
bench-store: $(VENV)/.installed-dev
	OMP_WAIT_POLICY=passive $(BIN)/python tests/benchmarks/bench_store.py

# docs/benchmarks/extract.md holds a result.
bench-extract: $(VENV)/.installed-dev
	OMP_WAIT_POLICY=passive $(BIN)/python tests/benchmarks/bench_extract.py

# docs/benchmarks/train.md holds a result.
bench-train: $(VENV)/.installed-dev
	OMP_WAIT_POLICY=passive $(BIN)/python tests/benchmarks/bench_train.py
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_encoder.py
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_towers.py
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_peers.py

# Everything that needs an accelerator, under eight minutes: docs/benchmarks/gpu/README.md. `make gpu DRY=1` takes all of it on the CPU, at small
# shapes. GPU_PYTHON names an interpreter that has the product already, GPU_OUT another folder for the page.
GPU_PYTHON ?= $(BIN)/python
GPU_OUT ?= $(if $(DRY),gpu-dry,docs/benchmarks/gpu)
gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(VENV)/.installed-dev)
	$(GPU_PYTHON) tests/gpu/run.py $(if $(DRY),--dry) --out $(GPU_OUT)

# All models and baselines in one table: docs/benchmarks/table.md holds the result. CROSSAN_TEST_DATA names the real data.
TABLE ?= table-runs
table: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_table.py --out $(TABLE)

clean:
	rm -rf $(VENV) $(LOWEST) demo table-runs gpu-dry .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[extract,report]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[extract,report,s3,ray,optuna,tensorboard,mlflow,service,dev]'
	touch $@ $(VENV)/.installed

# What the tests themselves need has no floors to try: it comes in the versions of constraints.txt.
$(LOWEST)/.installed: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet -c constraints-lowest.txt -e '.[extract,report,s3,optuna,service]'
	$(LOWEST)/bin/pip install --quiet -c constraints.txt pytest pytest-timeout pytest-xdist hypothesis
	touch $@
