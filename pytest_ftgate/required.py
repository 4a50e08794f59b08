"""Which gates a run must judge: those on disk under the paths that pytest was given, whatever was selected of them."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalsets.loader import EVALSET_SUFFIX, read_header
from evalsets.types import GateSpec


@dataclass(frozen=True, slots=True)
class EvalSetFile:
    """One eval-set file on disk and its gates, read without its examples."""

    path: Path
    name: str
    gates: tuple[GateSpec, ...]
    rungs: int
    """Rungs that beats_baseline must beat."""

    @property
    def gate_names(self) -> tuple[str, ...]:
        """`name::kind` of each gate."""
        return tuple(f"{self.name}::{gate.kind}" for gate in self.gates)

    @property
    def hypotheses(self) -> int:
        """Bad nulls that its gates test: one each, one per rung for beats_baseline, none for overlap."""
        count = {"overlap": 0, "beats_baseline": self.rungs}
        return sum(count.get(gate.kind, 1) for gate in self.gates)


def files_on_disk(args: Sequence[str], directory: Path, norecursedirs: Sequence[str]) -> list[Path]:
    """Eval-set files under the positional arguments of pytest; of a file or node id, all in its directory."""
    found: set[Path] = set()
    for arg in args:
        path = (directory / arg.split("::", 1)[0]).resolve()
        if path.is_dir():
            found.update(_walk(path, norecursedirs))
        elif path.name.endswith(EVALSET_SUFFIX):
            found.update(path.parent.glob(f"*{EVALSET_SUFFIX}"))
    return sorted(found)


def read_files(paths: Sequence[Path]) -> list[EvalSetFile]:
    """Read names and gates. Raises EvalSetError."""
    headers = [(path, read_header(path)) for path in paths]
    return [EvalSetFile(path, header.name, header.gates, len(header.rungs)) for path, header in headers]


def _walk(top: Path, norecursedirs: Sequence[str]) -> Iterator[Path]:
    for directory, names, files in os.walk(top):
        names[:] = sorted(n for n in names if not _skipped(Path(directory) / n, norecursedirs))
        yield from (Path(directory) / f for f in files if f.endswith(EVALSET_SUFFIX))


def _skipped(path: Path, norecursedirs: Sequence[str]) -> bool:
    """Directories that pytest does not enter either: its norecursedirs, and virtual environments."""
    return any(fnmatch.fnmatch(path.name, p) for p in norecursedirs) or (path / "pyvenv.cfg").is_file()
