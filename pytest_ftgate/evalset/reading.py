"""Collects values and problems while one eval-set file is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ftgate.files.problems import Problem
from pytest_ftgate.files.strictyaml import Document, Place
from pytest_ftgate.files.wording import dotted

_LINES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """One eval-set file and the problems found in it so far."""

    document: Document
    directory: Path
    """Where relative paths start: the directory of the eval-set file."""
    problems: list[Problem] = field(default_factory=list)

    def report(self, place: Place, what: str, fix: str) -> None:
        """Note a problem at a place of the YAML."""
        self.problems.append(Problem(self.document.path, self.document.line(place), dotted(place), what, fix))


@dataclass(frozen=True, slots=True)
class RowProblems:
    """Problems of rows: the same problem in many rows is told once, with the first few lines."""

    groups: dict[tuple[str, str, str], list[Problem]] = field(default_factory=dict)
    """By (path, key, fix)."""

    def add(self, path: str, line: int, key: str, what: str, fix: str) -> None:
        """Note a problem of one row."""
        self.groups.setdefault((path, key, fix), []).append(Problem(path, line, key, what, fix))

    def told(self) -> list[Problem]:
        """One Problem for each group, in the order in which they were found."""
        return [_merged(group) for group in self.groups.values()]


def _merged(group: Sequence[Problem]) -> Problem:
    if len(group) == 1:
        return group[0]
    lines = [str(p.line) for p in group[:_LINES_SHOWN]]
    more = ", ..." if len(group) > _LINES_SHOWN else ""
    return replace(group[0], what=f"{group[0].what} ({len(group)} rows: {', '.join(lines)}{more})")
