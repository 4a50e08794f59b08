"""Eval sets that users' own tests name with the marker `ft_evalset`, and the answers to them for `ft_results`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.wording import brief, shown
from pytest_ftgate.gates.asserting import Results
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.overlap import Overlaps
from pytest_ftgate.run.judged import levels_of
from pytest_ftgate.run.session import Session


@dataclass(frozen=True, slots=True)
class Marked:
    """What the markers of the selected tests name."""

    evalsets: tuple[EvalSet, ...]
    problems: tuple[str, ...] = ()
    """Why marks cannot be used; every test that asks for results is then an error."""


class OwnResults(Mapping[str, Results]):
    """Name of an eval set -> its Results. Raises FtgateError for one that no test names."""

    def __init__(self, found: Mapping[str, Results]) -> None:
        self._found = dict(found)

    def __getitem__(self, name: str) -> Results:
        if name not in self._found:
            marked = ", ".join(sorted(self._found)) or "none"
            raise FtgateError(
                f"no selected test names the eval set {brief(name)} (named: {marked})",
                'mark the test: @pytest.mark.ft_evalset("evals/NAME.eval.yaml")',
            )
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def marked_sets(session: Session, marks: Iterable[tuple[object, ...]]) -> Marked:
    """The eval sets of the markers, given the arguments of each: one path, relative to pytest's root directory."""
    collected = {file.name: file.path.resolve() for file in session.required}
    found: dict[Path, EvalSet] = {}
    problems: list[str] = []
    for arguments in dict.fromkeys(marks):
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            problems.append(f"expected ft_evalset with one path, found {brief(list(map(str, arguments)))}")
            continue
        path = session.root / arguments[0]
        try:
            found[path.resolve()] = load_evalset(path)
        except InputError as error:
            problems.append(str(error))
    names = {**collected}
    for path, evalset in found.items():
        if names.setdefault(evalset.name, path) != path:
            both = f"{shown(names[evalset.name])} and {shown(path)}"
            problems.append(f"two eval sets are called {brief(evalset.name)}: {both}. Fix: rename one of them")
        if evalset.attempts.feedback == "sealed" or evalset.attempts.spend != "none":
            problems.append(
                f"{brief(evalset.name)} counts its attempts, and results would show more than a verdict. Fix: judge it "
                "by the gates in its file, or leave `attempts` out"
            )
    return Marked(tuple(found.values()), tuple(problems))


def results_of(
    session: Session, marked: Marked, stage: StageResult, overlaps: Overlaps, shared: Path
) -> Mapping[str, Results]:
    """The answers that the stage gave to the marked eval sets. Raises FtgateError where marks cannot be used."""
    problems = list(marked.problems)
    if session.policy_changed:
        problems.append("policy or eval sets were changed while the run was starting. Fix: run again")
    if problems:
        raise FtgateError("; ".join(problems))
    found = {}
    for evalset in marked.evalsets:
        asked = session.subset.of(evalset)
        if not asked.examples:
            raise FtgateError(f"no example of {brief(evalset.name)} is asked", "leave out --ft-case, or name one of it")
        levels = levels_of(session, evalset, shared)
        levels = Levels(levels.alpha, max(1, levels.hypotheses))
        found[evalset.name] = Results(asked, stage.generations.get(evalset.name, {}), levels, overlaps)
    return OwnResults(found)
