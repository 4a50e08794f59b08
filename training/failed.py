"""A run that failed on its way: nothing is wrong with its inputs, and nothing was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_ftgate.answers.engine.memory import free_now, ran_out
from training.config import TrainingConfig


class TrainingFailed(Exception):
    """The run itself failed: the loss is not finite, or memory ran out. Nothing was written."""


@contextmanager
def memory_told(when: Callable[[], str], *, fix: str) -> Iterator[None]:
    """Raises TrainingFailed where memory runs out inside: `when` is asked then. Other errors pass as they are."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        import torch

        on_gpu = torch.cuda.is_available()
        free = free_now(torch.device("cuda", torch.cuda.current_device())) if on_gpu else ""
        raise TrainingFailed(f"{'GPU memory' if on_gpu else 'memory'} ran out {when()}{free}: {fix}") from None


def smaller_base(config: TrainingConfig) -> str:
    """What to do where the base does not fit."""
    in_4_bits = "write `method: qlora`, " if config.row.in_4_bits == "never" else "add `quantization: {}`, "
    return f"{in_4_bits if config.quantization is None else ''}take a smaller base, or free memory on the device"


def smaller_steps(config: TrainingConfig) -> str:
    """What to do where the base fits, and a step does not."""
    return f"lower per_device_train_batch_size or max_length, set gradient_checkpointing: true, {smaller_base(config)}"
