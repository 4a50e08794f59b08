"""SHA-256 of files and of the files that make a base model what it is. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

BASE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
"""Files of a model directory that decide what it answers."""

_CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """Lower-case hex SHA-256 of a file's bytes, read in chunks. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def path_sha256(path: Path) -> str:
    """`file_sha256` of a file; of a directory, the sha256 of its `sha256sum` listing, sorted by relative path.

    Raises OSError.
    """
    if path.is_file():
        return file_sha256(path)
    names = sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file())
    return text_sha256("".join(f"{file_sha256(path / name)}  {name}\n" for name in names))


def text_sha256(text: str) -> str:
    """Lower-case hex SHA-256 of the text as UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def matching_files(directory: Path, patterns: Iterable[str]) -> list[str]:
    """Names of the files directly in `directory` that match a pattern, sorted. Links are followed. Raises OSError."""
    wanted = tuple(patterns)
    return sorted(
        entry.name
        for entry in directory.iterdir()
        if entry.is_file() and any(fnmatchcase(entry.name, pattern) for pattern in wanted)
    )


def directory_digests(directory: Path, patterns: Iterable[str]) -> dict[str, str]:
    """`{file name: sha256}` of the files directly in `directory` whose name matches a pattern, sorted by name.

    Links are followed, as the snapshots of the hub cache are links. Raises OSError.
    """
    return {name: file_sha256(directory / name) for name in matching_files(directory, patterns)}


def base_digests(directory: Path) -> dict[str, str]:
    """`{file name: sha256}` of everything in a base model's directory that decides what it answers."""
    return directory_digests(directory, BASE_PATTERNS)
