"""Files whose names nearly are those of eval sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_ftgate.errors import Unusable
from pytest_ftgate.evalset.discovery import almost_evalsets
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import shown


def misnamed(
    args: Sequence[str], directory: Path, norecursedirs: Sequence[str], *, verdict_required: bool
) -> tuple[str, ...]:
    """Files that look like eval sets and are none: a gate that nobody collects would be missed by nobody."""
    notes = tuple(
        f"{shown(path)} is not an eval set{_letters(path.name)}: did you mean {_meant(path.name)}.eval.yaml?"
        for path in almost_evalsets(args, directory, norecursedirs)
    )
    if notes and verdict_required:
        raise Unusable("\n".join([*notes, "Fix: rename the file, or keep it outside the paths given to pytest"]))
    return notes


def _letters(name: str) -> str:
    """The name as it is written, where that cannot be seen."""
    return "" if name.isascii() and not re.search(r"\s", name) else f" (its name is {name!a})"


def _meant(name: str) -> str:
    return visible(name.partition(".")[0].strip())
