"""Before GPU hours are spent: does a prompt do? Asked by `pytest-ftgate ladder`, in a process of its own.

`training` imports nothing of the room that judges; a process also gives its memory back before training begins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.json_value import Json

ENOUGH = ("PROMPT_ENOUGH", "KNOWLEDGE")


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the ladder said."""

    enough: bool
    """A prompt, or retrieval, closes the gap on every eval set that has rungs."""
    notes: tuple[str, ...]
    """For ftgate.json, one sentence for each eval set, or why there is none."""
    said: bool = False
    """Whether the user has read them already."""


def climb(evalsets: Sequence[EvalSet], base: Path) -> Ladder:
    """Ask the base with the baselines of the eval sets; what it prints, the user sees."""
    asked = [evalset for evalset in evalsets if evalset.baselines]
    if not evalsets:
        return Ladder(False, ())
    if not asked:
        return Ladder(False, ("ladder: not climbed, no eval set named under `evals` has `baselines`",))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Ladder(False, ("ladder: not climbed by several processes; call `pytest-ftgate ladder` before",))
    if find_spec("pytest_ftgate") is None:
        return Ladder(False, ("ladder: not climbed, pytest_ftgate is not installed",))
    print("ladder   is there a gap left that a prompt does not close? (--no-ladder: do not ask)\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ladder.json"
        files = [str(evalset.path) for evalset in asked]
        ours = [sys.executable, "-P", "-m", "pytest_ftgate"]  # -P: no module of the folder where the user stands
        command = [*ours, "ladder", *files, "--base", str(base), "--json", str(out)]
        code = subprocess.run(command, check=False).returncode
        if not out.is_file():
            return Ladder(False, (f"ladder: could not be climbed (exit code {code})",))
        return _read(json.loads(out.read_text(encoding="utf-8"))["ladders"])


def _read(ladders: Sequence[dict[str, Json]]) -> Ladder:
    notes = tuple(f"ladder: {ladder['evalset']}: {ladder['sentence']}" for ladder in ladders)
    return Ladder(all(ladder["answer"] in ENOUGH for ladder in ladders), notes, said=True)
