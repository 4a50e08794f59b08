"""Chooses the device of a run, and checks that the run can fit on it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.files.wording import brief, shown
from training.failed import smaller_base
from training.memory import least_memory
from training.preflight import Checked


@dataclass(frozen=True, slots=True)
class Device:
    """What the run computes on."""

    cuda: bool
    bf16: bool
    """Whether it can compute in bfloat16."""
    name: str
    """`cpu`, or the name of the GPU."""
    free_bytes: int | None = None
    """Free memory of the GPU; None on the CPU."""

    def __str__(self) -> str:
        free = "" if self.free_bytes is None else f", {self.free_bytes / 2**30:.1f} GiB free"
        return f"{self.name.strip()}{free}"


def find_device() -> Device:
    """CUDA where torch sees it, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return Device(cuda=False, bf16=False, name="cpu")
    # As accelerate will, but before anything touches the first GPU from every process.
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    free, _ = torch.cuda.mem_get_info()
    return Device(True, torch.cuda.is_bf16_supported(), torch.cuda.get_device_name(), free)


def require_memory(checked: Checked, device: Device, *, bf16: bool) -> None:
    """Raises TrainingDataError where the device cannot even hold weights, gradients and optimizer states."""
    least = least_memory(checked.config, checked.base, bf16=bf16).bytes
    if device.free_bytes is not None and least > device.free_bytes:
        found = f"found {device.free_bytes / 2**30:.2f} GiB on {brief(device.name)}"
        what = f"expected at least {least / 2**30:.2f} GiB of free GPU memory for {checked.config.method}, {found}"
        fix = smaller_base(checked.config)
        raise TrainingDataError([Problem(shown(checked.config.path), None, "method", what, fix)])
