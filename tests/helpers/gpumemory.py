"""A GPU with little memory, for the tests of what happens when it runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_ftgate.answers.engine import decode, hf_load


@contextmanager
def little_memory(device: str, mib: int, rows: int) -> Iterator[None]:
    """At most `mib` MiB more on the GPU; on the CPU, which says nothing, no forward pass of more than `rows` rows."""
    import torch

    if not device.startswith("cuda"):
        with pytest.MonkeyPatch.context() as patch:
            prefill = decode.prefill

            def small(model: Any, store: Any, prompts: Any, **more: Any) -> Any:
                if len(prompts) > rows:
                    raise torch.OutOfMemoryError("out of memory")
                return prefill(model, store, prompts, **more)

            patch.setattr(decode, "prefill", small)
            yield
        return
    hf_load.free()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + mib * 2**20) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
