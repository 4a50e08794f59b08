"""`pytest-ftgate train CONFIG.yaml`: hands over to `training`, which stands above this package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Run `training` with these arguments; returns its exit code.

    `training` is an everyday word: a folder of that name where the user stands must not be run instead of ours, so it
    is looked for where this package was installed, before anywhere else.
    """
    ours = str(Path(__file__).resolve().parents[2])
    sys.path.insert(0, ours)
    try:
        return int(importlib.import_module("training.__main__").main(argv, prog="pytest-ftgate train"))
    finally:
        sys.path.remove(ours)
