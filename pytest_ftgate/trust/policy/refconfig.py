"""Reads pytest's configuration at a git ref, so that a change cannot narrow what it is held to."""

from __future__ import annotations

import fnmatch
import posixpath
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from iniconfig import IniConfig, ParseError

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.trust.policy.gitref import Tree

NORECURSE = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")
"""pytest's own default of norecursedirs."""
_SECTIONS = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}
_ORDER = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""The files that pytest looks for in a directory; the first that counts is taken."""


def where_pytest_looks(tree: Tree, directory: Path) -> tuple[list[Path], tuple[str, ...]]:
    """(paths, norecursedirs) of pytest started in `directory` at the ref, where no path is given. Raises PolicyError.

    Of a path with `**`, the directory before it counts: more gates are required, never fewer.
    """
    here = tree.name(directory)
    if here is None:
        return [directory], NORECURSE
    folder = here
    while True:
        options = _options(tree, "" if folder == "." else folder)
        if options is not None or folder in ("", "."):
            break
        folder = posixpath.dirname(folder)
    options = options or {}
    norecurse = _words(options.get("norecursedirs")) or NORECURSE
    named = _words(options.get("testpaths")) if folder == here else ()  # as pytest has it: only in its root directory
    known = [top for name in named for top in _matching(tree, posixpath.normpath(posixpath.join(here, name)))]
    return [tree.top / top for top in known] or [directory], norecurse


def _options(tree: Tree, folder: str) -> Mapping[str, Json] | None:
    """pytest's options in a directory of the ref; None where no file there holds any."""
    for file in _ORDER:
        name = posixpath.join(folder, file)
        data = tree.read(name)
        if data is None:
            continue
        try:
            found = _read(data.decode("utf-8-sig"), file, name)
        except (UnicodeDecodeError, ParseError, ValueError, RecursionError) as error:
            raise PolicyError(f"{name} at {tree.ref} cannot be read: {error}", fix="correct it there") from None
        if found is not None or file in ("pytest.ini", ".pytest.ini"):
            return found or {}
    return None


def _read(text: str, file: str, name: str) -> Mapping[str, Json] | None:
    if file == "pyproject.toml":
        options = tomllib.loads(text).get("tool", {}).get("pytest", {}).get("ini_options")
        return options if isinstance(options, dict) else None
    config = IniConfig(name, data=text)
    section = _SECTIONS[file]
    return dict(config[section].items()) if section in config else None


def _words(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(str(one) for one in value) if isinstance(value, Sequence) else ()


def _matching(tree: Tree, pattern: str) -> list[str]:
    """Files and directories of the ref that a path with wildcards names."""
    parts = pattern.split("/")
    if "**" in parts:
        return ["/".join(parts[: parts.index("**")]) or "."]
    names = (*tree.blobs, *tree.others)
    return [
        name
        for name in names
        if name.count("/") == len(parts) - 1
        and all(fnmatch.fnmatchcase(one, part) for one, part in zip(name.split("/"), parts, strict=True))
    ]
