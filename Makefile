# Thin targets: every command that they run is printed, or named in the text that `make` alone prints.
.DEFAULT_GOAL := help
.PHONY: help demo sample contestants test test-slow test-exhaustive check architecture bench status forecast mlflow lock clean clean-features clean-decoded

PYTHON ?= python3
LOCK ?= envs/cpu.txt
BIN := .venv/bin
TWO_CORES := --cores 2 --resources gpu=2

help: ## print these targets
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / {printf "make %-17s%s\n", $$1, $$2}' Makefile

demo: .venv/installed ## the benchmark on synthetic images, minutes on two cores, nothing is downloaded
	$(BIN)/covbench run -- all --configfile config/demo.yaml --directory demo $(TWO_CORES)
	$(BIN)/covbench summary demo/results
	@echo "Report: $(CURDIR)/demo/results/report/index.html"

# The folder holds each dataset under its upstream name.
sample: .venv/installed ## real images of all seven tasks: make sample MIRROR=/path/to/a/mirror/of/the/six/datasets
	@test -n "$(MIRROR)" || (echo "make sample MIRROR=/path/to/a/mirror/of/the/six/datasets" >&2 && false)
	mirror="$$(realpath "$(MIRROR)")" && $(BIN)/covbench run -- all --configfile config/sample.yaml --config "fetch={mirror: '$$mirror'}" "weights={mirror: '$$mirror/weights'}" --directory sample $(TWO_CORES)
	$(BIN)/covbench summary sample/results
	@echo "Report: $(CURDIR)/sample/results/report/index.html"

# Their packages are installed beside those of covbench, PyTorch's build for CPUs among them.
contestants: .venv/installed ## contestants from elsewhere on real images: make contestants MIRROR=/path/to/a/mirror
	@test -n "$(MIRROR)" || (echo "make contestants MIRROR=/path/to/a/mirror/of/the/six/datasets" >&2 && false)
	mirror="$$(realpath "$(MIRROR)")" && $(BIN)/covbench run -- all --configfile config/contestants.yaml --config "fetch={mirror: '$$mirror'}" --directory contestants-run $(TWO_CORES)
	$(BIN)/covbench summary contestants-run/results
	@echo "Report: $(CURDIR)/contestants-run/results/report/index.html"

test: .venv/installed ## the fast tests
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2

TESTS ?= tests
test-slow: .venv/installed ## the slow tests: real trainings, SLURM, DVC; TESTS=tests/slurm for some of them
	$(BIN)/python -m pytest -m "slow and not exhaustive" --numprocesses 2 --durations 30 $(TESTS)

test-exhaustive: .venv/installed ## more kills, and networks that join parts of others; not run by CI
	$(BIN)/python -m pytest -m exhaustive --numprocesses 2 --durations 30 tests

check: .venv/installed ## format, lint, types, import contracts, spelling, docs site, links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/make_architecture.py --check
	$(BIN)/python docs/check_links.py
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

architecture: .venv/installed ## write ARCHITECTURE.md from docstrings and imports
	$(BIN)/python docs/make_architecture.py

# One alone: .venv/bin/python -m bench loader
bench: .venv/installed ## every measured ratio beside its bar
	$(BIN)/python -m bench

CONFIG ?= config/config.yaml
DIRECTORY ?= .
status: .venv/installed ## the state of every planned run; CONFIG= and DIRECTORY= for others
	@$(BIN)/covbench status --configfile "$(CONFIG)" --directory "$(DIRECTORY)"

forecast: .venv/installed ## hours, memory, disk and kWh of what is still to train; CONFIG= and DIRECTORY= for others
	@$(BIN)/covbench forecast --configfile "$(CONFIG)" --directory "$(DIRECTORY)"

RESULTS ?= results
PORT ?= 5000
mlflow: .venv/installed ## MLflow's pages of the runs, behind a password; RESULTS=demo/results for those of the demo
	$(BIN)/covbench mlflow "$(RESULTS)" --port $(PORT)

# The lock is installed with hashes only: what is not in it cannot get in. Three packages have no wheels; setuptools of the lock builds them.
# DVC trusts its site cache, and would make it below /var/tmp for all users to write.
SOURCES_ONLY := antlr4-python3-runtime,connection-pool,jsonpath-rw
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
.venv/installed: $(LOCK) pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'covbench needs Python 3.11 to 3.13')"
	$(PYTHON) -m venv .venv || (echo "python3 -m venv failed; on Debian: apt-get install python3-venv" && false)
	awk '/^[^ ]/ {keep = /^setuptools==/} keep' $(LOCK) > .venv/builder.txt
	$(PIP_INSTALL) --require-hashes --only-binary :all: -r .venv/builder.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation --only-binary :all: --no-binary $(SOURCES_ONLY) -r $(LOCK)
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	mkdir -p -m 700 .dvc/private && $(BIN)/dvc config --local core.site_cache_dir "$$PWD/.dvc/private"
	touch .venv/installed

lock: ## resolve the locked packages anew; needs uv
	uv pip compile --quiet pyproject.toml --extra cpu --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file envs/cpu.txt
	uv pip compile --quiet pyproject.toml --extra gpu --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file envs/gpu.txt

# They are computed again when a run needs them, also while others train.
clean-features: ## remove the stored features of frozen backbones and baselines
	rm -rf checkpoints/features

# The same holds for these; `index` keeps them again.
clean-decoded: ## remove the decoded images that index, thumbnails and prepared arrays share
	rm -rf data/decoded

clean: ## remove .venv and demo
	rm -rf .venv demo
