# Thin targets: every command that they run is shown in README.md.
.PHONY: demo sample test test-slow check bench status forecast mlflow lock clean clean-features

PYTHON ?= python3
LOCK ?= envs/cpu.txt
BIN := .venv/bin

demo: .venv/installed
	$(BIN)/snakemake all --configfile config/demo.yaml --directory demo --cores 2 --resources gpu=2 --set-threads train_classifier=1 train_segmenter=1 predict_external=1 predict_external_masks=1
	$(BIN)/python -m covbench.reporting.summary demo/results
	@echo "Report: $(CURDIR)/demo/results/report/index.html"

# Real images of all seven tasks, a few hundred a task, from a folder that holds each dataset under its upstream name.
sample: .venv/installed
	@test -n "$(MIRROR)" || (echo "make sample MIRROR=/path/to/a/mirror/of/the/six/datasets" && false)
	mirror="$$(realpath "$(MIRROR)")" && $(BIN)/snakemake all --configfile config/sample.yaml --config "fetch={mirror: '$$mirror'}" "weights={mirror: '$$mirror/weights'}" --directory sample --cores 2 --resources gpu=2 --set-threads train_classifier=1 train_segmenter=1 predict_external=1 predict_external_masks=1
	$(BIN)/python -m covbench.reporting.summary sample/results
	@echo "Report: $(CURDIR)/sample/results/report/index.html"

test: .venv/installed
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --durations 30

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check_links.py

# Every ratio beside its bar, and the tables of docs/PERFORMANCE.md; one alone: .venv/bin/python -m bench loader
bench: .venv/installed
	$(BIN)/python -m bench

CONFIG ?= config/config.yaml
DIRECTORY ?= .
status: .venv/installed
	@$(BIN)/python -m covbench.experiment.status --configfile "$(CONFIG)" --directory "$(DIRECTORY)"

# Calibrates for up to ten minutes and goes on from there the next time; more: .venv/bin/python -m covbench.operations.forecast --help
forecast: .venv/installed
	@$(BIN)/python -m covbench.operations.forecast --configfile "$(CONFIG)" --directory "$(DIRECTORY)"

RESULTS ?= results
mlflow: .venv/installed
	@test -f "$(RESULTS)/mlflow.db" || (echo "no $(RESULTS)/mlflow.db yet: run the benchmark first, or say RESULTS=demo/results" && false)
	$(BIN)/python -m covbench.operations.mlflow.views sqlite:///$(RESULTS)/mlflow.db http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --backend-store-uri sqlite:///$(RESULTS)/mlflow.db --default-artifact-root $(RESULTS)/mlartifacts --host 127.0.0.1 --port 5000

# The lock is installed with hashes only: what is not in it cannot get in.
.venv/installed: $(LOCK) pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'covbench needs Python 3.11 to 3.13')"
	$(PYTHON) -m venv .venv || (echo "python3 -m venv failed; on Debian: apt-get install python3-venv" && false)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch .venv/installed

lock:
	uv pip compile --quiet pyproject.toml --extra cpu --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file envs/cpu.txt
	uv pip compile --quiet pyproject.toml --extra gpu --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file envs/gpu.txt

# Features of frozen backbones: nothing but time is lost, also while runs go on.
clean-features:
	rm -rf checkpoints/features

clean:
	rm -rf .venv demo
