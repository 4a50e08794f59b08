"""Finds the eval-set files that a run must judge: all on disk under the given paths, not only the selected ones."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.builtin import builtin_file, is_builtin
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.loader import EVALSET_SUFFIX, read_header
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.lookalike import looks_like, skeleton
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.wording import shown

NOT_ENTERED = (".*", "build", "dist", "node_modules", "venv")
"""Directories that no command looks into: as pytest's own norecursedirs, where no configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class EvalSetFile:
    """One eval-set file on disk and its gates, read without its examples."""

    path: Path
    name: str
    gates: tuple[GateSpec, ...]
    rungs: int
    """Rungs that beats_baseline must beat."""
    sliced: int = 0
    """Gates of which slices have bounds of their own."""

    @property
    def gate_names(self) -> tuple[str, ...]:
        """`name::kind` of each gate."""
        return tuple(gate_name(self.name, gate.kind) for gate in self.gates)

    @property
    def hypotheses(self) -> int:
        """Bad nulls that its gates test: as their kinds say, which may be one for each rung, or none.

        The bounded slices of one gate count as one more: Holm shares that one among them.
        """
        return sum(gate.row.hypotheses(self.rungs) for gate in self.gates) + self.sliced


_ALMOST = re.compile(r".+[._-]evals?(set)?\.(ya?ml|json)", re.IGNORECASE)


def files_on_disk(args: Sequence[str], directory: Path, norecursedirs: Sequence[str]) -> list[Path]:
    """Eval-set files under the positional arguments of pytest; of a file or node id, all in its directory.

    Raises InputError where one is a link to nothing, or a directory cannot be read: gates would be missed by nobody.
    """
    found = _files(args, directory, norecursedirs, lambda name: name.endswith(EVALSET_SUFFIX))
    what, fix = "expected an eval set, found a link to nothing", "restore what it names, or remove it"
    if gone := [Problem(shown(path), None, "", what, fix) for path in found if not path.exists()]:
        raise InputError(gone)
    return found


def almost_evalsets(args: Sequence[str], directory: Path, norecursedirs: Sequence[str]) -> list[Path]:
    """Files there that are called nearly like an eval set (`tickets.eval.yml`, or with a letter of another alphabet).

    Nobody collects their gates.
    """

    def almost(name: str) -> bool:
        if name.endswith(EVALSET_SUFFIX):
            return False
        return looks_like(name, EVALSET_SUFFIX) or any(_ALMOST.fullmatch(n) for n in (name, skeleton(name)))

    return _files(args, directory, norecursedirs, almost)


def _files(
    args: Sequence[str], directory: Path, norecursedirs: Sequence[str], wanted: Callable[[str], bool]
) -> list[Path]:
    found: set[Path] = set()
    for arg in args:
        path = (directory / arg.split("::", 1)[0]).resolve()
        if path.is_dir():
            found.update(_walk(path, norecursedirs, wanted))
        elif (path.name.endswith(EVALSET_SUFFIX) or wanted(path.name)) and path.parent.is_dir():
            found.update(p for p in path.parent.iterdir() if wanted(p.name) and not p.is_dir())
    return sorted(found)


def named_files(names: Sequence[str]) -> list[Path]:
    """Eval-set files as a command line names them (`builtin:NAME` too), and every one below a directory.

    Raises FtgateError; EvalSetError for a built-in set that there is none of.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = builtin_file(name) if is_builtin(name) else Path(name)
        inside = files_on_disk([name], Path.cwd(), NOT_ENTERED) if path.is_dir() else [path]
        if not inside:
            raise FtgateError(f"no *{EVALSET_SUFFIX} file lies below {name}", fix="name an eval-set file")
        found.update(dict.fromkeys(inside))
    return list(found)


def read_files(paths: Sequence[Path]) -> list[EvalSetFile]:
    """Read names and gates. Raises EvalSetError."""
    headers = [(path, read_header(path)) for path in paths]
    return [EvalSetFile(path, h.name, h.gates, len(h.rungs), len(h.sliced)) for path, h in headers]


def _walk(top: Path, norecursedirs: Sequence[str], wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Links to directories are followed, as pytest does, but never into a directory that holds the link."""

    def unreadable(error: OSError) -> None:
        what = f"expected a readable directory, found: {error.strerror}"
        raise InputError([Problem(shown(Path(error.filename)), None, "", what, "correct its permissions")]) from error

    for directory, names, files in os.walk(top, followlinks=True, onerror=unreadable):
        here = Path(directory)
        above = {here.resolve(), *here.resolve().parents}
        names[:] = sorted(
            n for n in names if not _skipped(here / n, norecursedirs) and (here / n).resolve() not in above
        )
        yield from (here / f for f in files if wanted(f))


def _skipped(path: Path, norecursedirs: Sequence[str]) -> bool:
    """Directories that pytest does not enter either: caches, its norecursedirs, and virtual environments."""
    if path.name == "__pycache__" or matches_norecurse(path, norecursedirs):
        return True
    return (path / "pyvenv.cfg").is_file() or (path / "conda-meta" / "history").is_file()


def matches_norecurse(path: Path, norecursedirs: Sequence[str]) -> bool:
    """Whether pytest would not enter this directory."""
    return any(_matches(path, pattern) for pattern in norecursedirs)


def _matches(path: Path, pattern: str) -> bool:
    """As pytest matches: the last name, or the end of the whole path where the pattern holds a slash."""
    if os.sep not in pattern:
        return fnmatch.fnmatch(path.name, pattern)
    return fnmatch.fnmatch(str(path), pattern if os.path.isabs(pattern) else f"*{os.sep}{pattern}")
