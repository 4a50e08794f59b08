"""Finds the configuration file that pytest reads, and checks that it is the one the user sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_ftgate.errors import Unusable

INI_FILES = {
    "pytest.toml": "[pytest]",
    ".pytest.toml": "[pytest]",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""Configuration files that pytest looks for, in its order, and what must stand in them to count."""


def check_rootdir(written: Sequence[str], directory: Path, inifile: Path | None) -> None:
    """With a space, pytest takes the model directory for a test path and may lose the project's configuration."""
    if "--ft-model" not in written or any(w in ("-c", "--config-file") or w.startswith("--rootdir") for w in written):
        return
    expected = ini_above(directory)
    if expected is not None and inifile != expected:
        raise Unusable(
            f"with a space after --ft-model, pytest took the model directory for a test path and did not read "
            f"{expected}. Fix: write --ft-model=DIR"
        )


def ini_above(directory: Path) -> Path | None:
    """The configuration file that pytest would read in this directory; None where there is none."""
    for folder in (directory, *directory.parents):
        for name, mark in INI_FILES.items():
            path = folder / name
            if path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace"):
                return path
    return None
