"""The header of a safetensors file: names, types and shapes of tensors. Standard library only.

Format: 8 bytes little-endian header length, JSON header, data. The official reader accepts a header in which a key
stands twice; ours does not, since two readers could then see two models.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeGuard

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import loads, read_json

MAX_HEADER = 8 * 2**20
"""Bytes. The reference implementation takes 100 MB, and then works for minutes on what no training run writes."""
MAX_TENSORS = 50_000
"""In one file; the largest models have some thousands in each."""
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
OTHER_BYTES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "U16": 2, "U32": 4, "U64": 8}
OTHER_BYTES |= {"F8_E4M3": 1, "F8_E5M2": 1}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a header."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        """Whether it is stored in 16, 32 or 64 bit floating point."""
        return self.dtype in FLOAT_BYTES

    @property
    def bytes(self) -> int:
        """Size of its data."""
        return prod(self.shape) * (FLOAT_BYTES | OTHER_BYTES)[self.dtype]


def read_headers(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model directory's safetensors files; {} where it has none. Raises IdentityError."""
    found: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found.update(read_header(path))
    return found


def check_shards(directory: Path) -> None:
    """An index of shards names files beside it: what lies elsewhere is in no digest, and could be swapped unseen.

    Raises IdentityError.
    """
    for path in sorted(directory.glob("*.safetensors.index.json")):
        try:
            index = read_json(path)
        except InputError as error:
            raise _damaged(path, f"cannot be read ({str(error)[:80]})", "train or copy it again") from None
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise _damaged(path, "has no weight_map from tensors to file names", "train or copy it again")
        for name in sorted({str(name) for name in shards.values()}):
            if not re.fullmatch(r"[^/\\]+\.safetensors", name):
                fix = "put the safetensors files beside the index, and name them there"
                raise _damaged(path, f"leads to {name[:80]!r}, expected a safetensors file beside it", fix)
            if not (directory / name).is_file():
                raise _damaged(path, f"names {name[:80]!r}, and there is no such file", "copy or download it again")


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensor name -> type and shape. Raises IdentityError where the file is not a sound safetensors file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"version "):
            raise _damaged(path, "is a Git LFS pointer, not the weights", "git lfs pull")
        if len(start) < 8:
            raise _damaged(path, f"has {size} bytes, too few for a header", "train or copy it again")
        (length,) = struct.unpack("<Q", start)
        if length > size - 8:
            raise _damaged(path, "is cut off: it says that its header is longer than the file", "copy it again")
        if length > MAX_HEADER:
            what = f"has a header of {length:,} bytes; at most {MAX_HEADER:,} are read ({MAX_TENSORS:,} tensors)"
            raise _damaged(path, what, "save it without metadata, or in several files")
        raw = file.read(length)
    if (tensors := raw.count(b'"dtype"')) > MAX_TENSORS:
        raise _damaged(path, f"holds {tensors:,} tensors; at most {MAX_TENSORS:,} are read", "save several files")
    try:
        header = loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, InputError, ValueError) as error:
        raise _damaged(path, f"has a broken header ({str(error)[:80]})", "train or copy it again") from None
    if not isinstance(header, dict):
        raise _damaged(path, "has a header that is not an object", "train or copy it again")
    header.pop("__metadata__", None)
    found = {name: _tensor(path, name, entry, size - 8 - length) for name, entry in header.items()}
    _check_size(path, sum(tensor.bytes for tensor in found.values()), size - 8 - length)
    return found


def _check_size(path: Path, declared: int, found: int) -> None:
    """What no tensor claims would be hashed to its end, and could be anything."""
    if declared < found:
        what = f"is larger than its tensors: they take {declared:,} bytes, and {found:,} follow its header"
        raise _damaged(path, what, "train or copy it again")
    if declared > found:
        raise _damaged(path, "is cut off, or its tensors overlap", "train or copy it again")


def _tensor(path: Path, name: str, entry: object, data: int) -> Tensor:
    if not isinstance(entry, Mapping):
        raise _damaged(path, f"describes tensor {name[:80]!r} by something that is not an object", "train it again")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    width = (FLOAT_BYTES | OTHER_BYTES).get(dtype) if isinstance(dtype, str) else None
    if not isinstance(dtype, str) or width is None or not _counts(shape) or not _counts(span) or len(span) != 2:
        raise _damaged(path, f"describes tensor {name[:80]!r} with a bad type, shape or place", "train it again")
    begin, end = span
    if end > data or end - begin != prod(shape) * width:
        raise _damaged(path, f"is cut off or overlaps at tensor {name[:80]!r}", "train or copy it again")
    return Tensor(dtype, tuple(shape))


def _counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _damaged(path: Path, what: str, fix: str) -> IdentityError:
    return IdentityError(f"{path.parent.name}/{path.name} {what}", fix=fix)
