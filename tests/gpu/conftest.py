"""What the GPU tests share: the device, the demo's base with a LoRA on it, and engines.

FTGATE_GPU_TESTS_ON=cpu runs them without a GPU, to see that the tests themselves work; what only a GPU can show is
skipped then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuasked import EngineFor

from benchmarks.gpu_model import random_lora
from benchmarks.speed_work import DEMO
from pytest_ftgate.answers.engine import hf_load
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.model.identity import resolve_candidate

DEVICE = os.environ.get("FTGATE_GPU_TESTS_ON", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> str:
    """`cuda`, or what FTGATE_GPU_TESTS_ON names."""
    import torch

    if DEVICE.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return DEVICE


@pytest.fixture(autouse=True)
def _free(device: str) -> Iterator[None]:
    """No test finds the memory of the one before taken."""
    yield
    hf_load.free()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, device: str) -> Path:
    """The demo's base, data, eval sets and training files, and runs/random: a LoRA drawn at random."""
    here = tmp_path_factory.mktemp("demo")
    for name in ("base", "data", "evals", "train"):
        shutil.copytree(DEMO / name, here / name)
    random_lora(here / "base", here / "runs" / "random", device="cpu", dtype="float32", std=0.3)
    return here


@pytest.fixture(scope="session")
def engine_for(project: Path, device: str) -> EngineFor:
    """`engine_for("bfloat16")`: an engine, not loaded yet, on runs/random or another candidate of the project."""

    def make(dtype: str, quantize: str = "none", *, model: str = "runs/random", batch_size: int = 64) -> HFEngine:
        candidate = resolve_candidate(model, "base", project)
        return HFEngine(candidate, hf_load.Settings(device, dtype, quantize, batch_size))

    return make
