"""Memory that runs out: the ways in which libraries say so, and what is told then.

torch.OutOfMemoryError is a RuntimeError, and so is what the CPU's allocator, cuBLAS and bitsandbytes raise. Whoever
catches RuntimeError for another reason ("cannot be loaded", "does not fit this base") asks here first.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_ftgate.errors import EngineError

_WORDS = ("out of memory", "allocate memory", "not enough memory", "status_alloc_failed")
FIX = "free memory on the device, or use --ft-quantize=nf4, --ft-dtype=bfloat16 or another --ft-device"


@contextmanager
def told(device: Any, doing: str) -> Iterator[None]:
    """Raises EngineError where memory runs out while `doing`; other errors pass as they are."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        what = f"out of memory while {doing} on {device}{free_now(device)}: {first_line(error)}"
        raise EngineError(what, fix=FIX) from error


def ran_out(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, says that memory ran out."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and (_says_so(str(error)) or any(map(_says_so, _kept_by_transformers(error)))):
        return True
    return error.__cause__ is not None and ran_out(error.__cause__)


def free_now(device: Any) -> str:
    """` (1.50 of 79.10 GiB free)`. Empty on devices that do not say, or cannot any more."""
    import torch

    if device.type != "cuda":
        return ""
    try:
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    except RuntimeError:
        return ""
    return f" ({free / 2**30:.2f} of {total / 2**30:.2f} GiB free)"


def first_line(error: BaseException) -> str:
    """The first 300 characters at most of what the error says, or its kind."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300]


def _says_so(text: str) -> bool:
    return any(words in text.lower() for words in _WORDS)


def _kept_by_transformers(error: RuntimeError) -> Iterator[str]:
    """What went wrong while weights were converted (to 4 bits): transformers logs it, and raises words without a cause.

    It is still in the frames that the error went through.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        kept = getattr(frame.f_locals.get("loading_info"), "conversion_errors", None)
        if isinstance(kept, dict):
            yield from map(str, kept.values())
