"""Looks at a model's directory before anything is hashed or parsed: pointers, sizes, weights, other files.

All of it costs a listing and a few bytes of each file. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.digests import BASE_PATTERNS, is_named_by
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import listed
from pytest_ftgate.model.directory import counted_files

POINTER = b"version https://git-lfs"
POINTER_BYTES = 1024
"""A Git LFS pointer is never larger (by its specification)."""
MAX_TEXT_BYTES = 128 * 2**20
"""Of one file that is no weights and decides what a model answers; the largest tokenizers take 35 MB."""
MAX_OTHER_BYTES = 2**30
"""Of one file that no loader needs, and that a receipt has to hash nevertheless."""
ADDED = "added_tokens.json"
MAX_ADDED_TOKENS = 20_000
"""Tokens added to a vocabulary; real models have at most some thousands. Loading them takes time that grows faster."""

NEEDED = (
    *BASE_PATTERNS,
    "adapter_config.json",
    "ftgate.json",
    "tokenizer.model.v*",
    "*.spm",
    "*processor_config.json",
    "*.md",
    "*.txt",
    "*.png",
    "*.svg",
    "LICENSE*",
    "NOTICE*",
    "training_args.yaml",
    "train.yaml",
)
"""Files that a loader reads or that people read; any other one is named."""
SETS = (
    ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt", "adapters.safetensors", "adapters.npz"),
    (
        "model.safetensors",
        "model-*-of-*.safetensors",
        "pytorch_model*.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "consolidated*.safetensors",
        "consolidated*.pth",
        "*.gguf",
    ),
)
"""Names under which one loader or another looks for an adapter, and for a model: one name of each may be there."""


def check_pointers(directory: Path) -> None:
    """No file directly in the directory is a Git LFS pointer. Raises IdentityError."""
    found = [path.name for path in _files(directory) if _is_pointer(path)]
    if found:
        names = listed([visible(name, limit=80) for name in found], limit=3)
        what = f"is a Git LFS pointer, not the {'file' if len(found) == 1 else 'files'} itself"
        what = what if len(found) == 1 else "are Git LFS pointers, not the files themselves"
        raise IdentityError(
            f"{names} of {visible(directory.name, limit=80)} {what}",
            fix="run `git lfs pull` there, or download it again",
        )


def check_sizes(directory: Path) -> None:
    """Nothing but weights is too large to be what its name says. Raises IdentityError."""
    for path in _files(directory):
        if path.suffix == ".safetensors":
            continue  # its header says how large it is
        decides = is_named_by(path.name, (*BASE_PATTERNS, "adapter_config.json", "ftgate.json"))
        most = MAX_TEXT_BYTES if decides else MAX_OTHER_BYTES
        if (size := path.stat().st_size) > most:
            fix = "copy it again" if decides else "remove it: no loader needs it"
            raise IdentityError(
                f"{visible(path.name, limit=80)} of {visible(directory.name, limit=80)} has {size:,} bytes, "
                f"expected at most {most:,}",
                fix=fix,
            )
    _check_tokens(directory)


def _check_tokens(directory: Path) -> None:
    """Counted in the bytes: to parse what is far too large takes as long as it is large."""
    for name, mark in (("tokenizer.json", b'"content"'), ("tokenizer_config.json", b'"content"'), (ADDED, b'":')):
        path = directory / name
        if path.is_file() and (found := _occurrences(path, mark)) > MAX_ADDED_TOKENS:
            raise _too_many_tokens(path, found)


def _too_many_tokens(path: Path, found: int) -> IdentityError:
    return IdentityError(
        f"{path.name} of {visible(path.parent.name, limit=80)} adds {found:,} tokens to the vocabulary, expected at "
        f"most {MAX_ADDED_TOKENS:,}",
        fix="train a vocabulary with those tokens in it, or add fewer",
    )


def check_one_set(directory: Path) -> None:
    """There is one set of weights: which of two is used would depend on who loads it. Raises IdentityError."""
    names = [path.name for path in _files(directory)]
    for patterns in SETS:
        kinds = [[name for name in names if fnmatchcase(name, pattern)] for pattern in patterns]
        found = [name for kind in kinds for name in kind]
        if sum(map(bool, kinds)) > 1:
            raise IdentityError(
                f"{visible(directory.name, limit=80)} holds weights twice ({listed(sorted(found), limit=4)}): which of "
                "them is used depends on who loads it",
                fix="keep the one that ships, and judge that",
            )


def unneeded(directory: Path) -> list[str]:
    """POSIX names of files that count and that no loader needs, sorted. Raises IdentityError."""
    return [name for name in counted_files(directory) if not is_named_by(name, NEEDED)]


def _files(directory: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise IdentityError(f"cannot list {directory.name}: {error.strerror}", fix="check its permissions") from error


def _is_pointer(path: Path) -> bool:
    try:
        if path.stat().st_size > POINTER_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError as error:
        raise IdentityError(f"cannot read {path.name!r}: {error.strerror}", fix="check its permissions") from error


def _occurrences(path: Path, word: bytes) -> int:
    """How often a word stands in a file, read in pieces."""
    found, rest = 0, b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            piece = rest + piece
            found += piece.count(word)
            rest = piece[-(len(word) - 1) :]  # one byte too short to be counted twice
    return found
