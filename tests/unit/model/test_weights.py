"""The header of a safetensors file: what the reference reader writes is read, what is damaged is named."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.model.safetensors_header import Tensor, read_header, read_headers


def entry(begin: int = 0, end: int = 8, dtype: Any = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path: Path, header: Any, data: bytes = bytes(8), *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "adapter_model.safetensors"


def test_what_the_reference_writer_writes_is_read(file: Path) -> None:
    import torch
    from safetensors.torch import save_file

    kinds = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "U8": torch.uint8,
        "BOOL": torch.bool,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
    }
    tensors = {name: torch.zeros(2, 3, dtype=dtype) for name, dtype in kinds.items()}
    save_file({**tensors, "scalar": torch.tensor(1.0), "none": torch.zeros(0, 4)}, str(file), {"format": "pt"})
    found = read_header(file)
    assert found == {
        **{name: Tensor(name, (2, 3)) for name in kinds},
        "scalar": Tensor("F32", ()),
        "none": Tensor("F32", (0, 4)),
    }
    floating = {name for name, tensor in found.items() if tensor.floating}
    assert floating == {"F64", "F32", "F16", "BF16", "scalar", "none"}


def test_all_files_of_a_directory_are_read(tmp_path: Path) -> None:
    write(tmp_path / "model-00001-of-00002.safetensors", {"a": entry()})
    write(tmp_path / "model-00002-of-00002.safetensors", {"b": entry()})
    (tmp_path / "config.json").write_text("{}")
    assert set(read_headers(tmp_path)) == {"a", "b"}
    assert read_headers(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry(end=12, shape=(3,))}, "cut off"),
        ({"a": entry(end=4)}, "cut off"),
        ({"a": entry(begin=4, end=0)}, "cut off"),
        ({"a": entry(begin=-8, end=0)}, "bad type, shape or place"),
        ({"a": entry(shape=(-2,))}, "bad type, shape or place"),
        ({"a": entry(shape=(2.0,))}, "bad type, shape or place"),
        ({"a": entry(shape=(True, 2))}, "bad type, shape or place"),
        ({"a": entry(shape=(2**40, 2**40))}, "cut off"),
        ({"a": entry(dtype="Q4")}, "bad type, shape or place"),
        ({"a": entry(dtype=["F32"])}, "bad type, shape or place"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "bad type, shape or place"),
        ({"a": {**entry(), "data_offsets": [0, 4, 8]}}, "bad type, shape or place"),
        ({"a": 7}, "not an object"),
        ([1], "header that is not an object"),
        (b'{"a": {}, "a": {}}', "broken header"),
        (b"{", "broken header"),
        (b"\xff\xfe", "broken header"),
        (b'{"a": NaN}', "broken header"),
        (b"[" * 100_000, "broken header"),
    ],
    ids=str,
)
def test_a_damaged_header_is_named(file: Path, header: Any, message: str) -> None:
    with pytest.raises(IdentityError, match=message) as caught:
        read_header(write(file, header))
    assert "adapter_model.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_same_key_twice_is_refused_although_the_reference_reader_takes_it(file: Path) -> None:
    from safetensors.torch import load_file

    one, other = json.dumps(entry()), json.dumps(entry(dtype="F16", shape=(4,)))
    write(file, f'{{"a": {one}, "a": {other}}}'.encode())
    assert len(load_file(str(file))) == 1
    with pytest.raises(IdentityError, match="broken header"):
        read_header(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, too few"),
        (b"1234567", "7 bytes, too few"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (struct.pack("<Q", 2**63) + b"{}", "longer than the file"),
        (struct.pack("<Q", 3) + b"{}", "longer than the file"),
        (struct.pack("<Q", 100_000_001) + b"{}", "longer than the file"),
    ],
    ids=["empty", "short", "lfs", "huge", "one_more", "above_the_limit"],
)
def test_a_file_that_is_no_safetensors_file_is_named(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(IdentityError, match=message):
        read_header(file)


def test_a_file_that_was_cut_off_anywhere_is_refused(file: Path) -> None:
    whole = write(file, {"a": entry(), "b": entry(8, 16)}, bytes(16)).read_bytes()
    assert len(read_header(file)) == 2
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(IdentityError):
            read_header(file)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_an_error_or_a_header(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    file.write_bytes(struct.pack("<Q", len(content)) + content)
    with contextlib.suppress(IdentityError):  # any other exception fails this
        assert all(isinstance(tensor, Tensor) for tensor in read_header(file).values())
