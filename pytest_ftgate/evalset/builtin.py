"""Eval sets that come with the product, named as `builtin:NAME`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from pytest_ftgate.files.problems import EvalSetError, Problem
from pytest_ftgate.files.wording import brief, listed

PREFIX = "builtin:"


def is_builtin(name: str) -> bool:
    """Whether a file name in an eval-set file, or on a command line, means one of the sets that come with us."""
    return name.startswith(PREFIX)


def builtin_rows(name: str) -> Path:
    """The examples of `builtin:NAME`. Raises EvalSetError for a name that there is none of."""
    return _folder(name) / f"{name.removeprefix(PREFIX)}.jsonl"


def builtin_file(name: str) -> Path:
    """The eval-set file of `builtin:NAME`. Raises EvalSetError."""
    return _folder(name) / f"{name.removeprefix(PREFIX)}.eval.yaml"


def builtin_names() -> list[str]:
    """Every `builtin:NAME` that there is."""
    return sorted(f"{PREFIX}{path.parent.name}" for path in _root().glob("*/*.eval.yaml"))


def _folder(name: str) -> Path:
    known = builtin_names()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        fix = f"did you mean {near[0]}?" if near else f"name one of {listed(known, last='or')}"
        what = f"expected an eval set that comes with pytest-ftgate, found {brief(name)}"
        raise EvalSetError([Problem(name, None, "", what, fix)])
    return _root() / name.removeprefix(PREFIX)


def _root() -> Path:
    """`evalsets/` of the repository; an installed package holds it as `pytest_ftgate/builtin`."""
    package = Path(str(files("pytest_ftgate")))
    installed = package / "builtin"
    return installed if installed.is_dir() else package.parent / "evalsets"
