"""Modules that are imported when something of them is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """Stands for a module that heavy libraries hide behind; for any other one, a plain import is right.

    Which module may be imported where holds for it as for an import: tests/promises/test_layout.py reads the name.
    Type checkers are shown the module itself:

    if TYPE_CHECKING:
        from pytest_ftgate.run import judging
    else:
        judging = Late("pytest_ftgate.run.judging")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # whoever looks through the names of a module (pytest does) wants nothing of it
            raise AttributeError(f"{self._name} is asked for public names only, not for {attribute}")
        return getattr(import_module(self._name), attribute)
