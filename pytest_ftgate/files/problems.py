"""Problems of input files: where, what was expected, what was found, and the fix.

InputError          one or more Problems in files that a user wrote
  +- EvalSetError   an eval-set file or the files that it names
  +- TrainingDataError  training rows or a training manifest
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

_LINES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to fix in one place."""

    path: str
    """File as the user knows it (relative where possible)."""
    line: int | None
    """1-based line, or None where a line makes no sense (a missing file)."""
    key: str
    """Dotted key (`gates.accuracy.min`), column or "" for the whole file."""
    what: str
    """What was expected and what was found, in one sentence."""
    fix: str
    """What to write instead, in one sentence."""

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        key = f" {self.key}:" if self.key else ""
        return f"{where}:{key} {self.what}. Fix: {self.fix}"


def told_once(problems: Iterable[Problem]) -> list[Problem]:
    """One Problem for those that differ in nothing but the line, at the first line, with the next few lines named."""
    groups: dict[Problem, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(replace(problem, line=None), []).append(problem)
    return [_merged(group) for group in groups.values()]


def _merged(group: list[Problem]) -> Problem:
    lines = [str(problem.line) for problem in group[1:] if problem.line is not None]
    if not lines:
        return group[0]
    more = ", ..." if len(lines) > _LINES_SHOWN else ""
    again = f"(again on line {', '.join(lines[:_LINES_SHOWN])}{more})"
    return replace(group[0], what=f"{group[0].what} {again}")


class InputError(Exception):
    """Files that a user wrote cannot be used; carries every Problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        if not self.problems:
            raise ValueError("an InputError needs at least one Problem")
        super().__init__("\n".join(str(p) for p in told_once(self.problems)))


class EvalSetError(InputError):
    """An eval-set file, or a file that it names, cannot be used."""


class TrainingDataError(InputError):
    """Training rows, a training config or a manifest cannot be used."""
