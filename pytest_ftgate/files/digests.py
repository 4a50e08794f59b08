"""SHA-256 of files and of the files that make a base model what it is. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

TEMPLATE_FOLDER = "additional_chat_templates"
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
    f"{TEMPLATE_FOLDER}/*.jinja",  # transformers lets default.jinja there replace chat_template.jinja
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


def is_named_by(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the POSIX name; `*` does not reach into a folder."""
    folder, _, last = name.rpartition("/")
    parts = (pattern.rpartition("/") for pattern in patterns)
    return any(where == folder and fnmatchcase(last, what) for where, _, what in parts)


def matching_files(directory: Path, patterns: Iterable[str]) -> list[str]:
    """POSIX names of the files directly in `directory`, and in its folder of chat templates, that match a pattern.

    Sorted. Links are followed. Raises OSError.
    """
    wanted = tuple(patterns)
    entries = list(directory.iterdir())
    for folder in entries:
        if folder.name == TEMPLATE_FOLDER and folder.is_dir():
            entries = [*entries, *folder.iterdir()]
    names = (entry.relative_to(directory).as_posix() for entry in entries if entry.is_file())
    return sorted(name for name in names if is_named_by(name, wanted))


def directory_digests(directory: Path, patterns: Iterable[str]) -> dict[str, str]:
    """`{file name: sha256}` of the files in `directory` that `matching_files` finds, sorted by name.

    Links are followed, as the snapshots of the hub cache are links. Raises OSError.
    """
    return {name: file_sha256(directory / name) for name in matching_files(directory, patterns)}


def base_digests(directory: Path) -> dict[str, str]:
    """`{file name: sha256}` of everything in a base model's directory that decides what it answers."""
    return directory_digests(directory, BASE_PATTERNS)
