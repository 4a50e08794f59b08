"""`--ft-limit` and `--ft-case`: a few examples to look at. What is judged on them is information, never a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from pytest_ftgate.errors import Unusable
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.order import in_order
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.wording import brief, listed


@dataclass(frozen=True, slots=True)
class Subset:
    """Which examples are asked; without limit and cases, all of them."""

    limit: int | None = None
    """So many of each eval set, the first in the recorded order (evalset/order.py)."""
    cases: tuple[str, ...] = ()
    """`name:id`, or an id of any eval set. Where there are some, the limit does not count."""

    @property
    def is_part(self) -> bool:
        """Whether anything was asked for but all examples; a limit above their number is one, too."""
        return bool(self.cases) or self.limit is not None

    @property
    def because(self) -> str:
        """Why the run is one of a part, for the run verdict. Empty where it is not."""
        if self.cases:
            return f"only the examples of --ft-case were asked ({listed(self.cases, limit=4)}); a subset never ships"
        if self.limit is not None:
            return f"at most {self.limit} examples of each eval set were asked (--ft-limit); a subset never ships"
        return ""

    def of(self, evalset: EvalSet) -> EvalSet:
        """The eval set with these examples only, in its own order; its digest stays that of the whole."""
        if not self.is_part:
            return evalset
        if self.cases:
            wanted = {e.id for e in evalset.examples if e.id in self.cases or f"{evalset.name}:{e.id}" in self.cases}
        else:
            wanted = {e.id for e in in_order(evalset)[: self.limit]}
        return replace(evalset, examples=tuple(e for e in evalset.examples if e.id in wanted))

    def lines(self, evalsets: Iterable[EvalSet]) -> list[str]:
        """How much of each eval set is asked, for the end of collection."""
        sets = {e.name: e for e in evalsets}.values()
        said = [f"{len(self.of(e).examples)} of {len(e.examples)} of {e.name}" for e in sets]
        return [f"ftgate: {listed(said)} examples are asked: information, never a decision"] if said else []


EVERYTHING = Subset()


def subset_of(limit: int | None, written: Sequence[str], paths: Sequence[Path], *, check: bool) -> Subset:
    """The options as given; `written` are ids between commas. Raises Unusable for an id that no eval set has.

    `check`: look into the eval sets at `paths`, which one process does for all.
    """
    cases = tuple(dict.fromkeys(part.strip() for text in written for part in text.split(",")))
    if "" in cases:
        raise Unusable(
            "--ft-case: expected ids of examples between commas, found nothing. Fix: --ft-case=tickets:t1,t2"
        )
    if cases and check:
        _check(cases, paths)
    return Subset(limit, cases)


def _check(cases: Sequence[str], paths: Sequence[Path]) -> None:
    try:
        evalsets = [load_evalset(path) for path in paths]
    except InputError as error:
        raise Unusable(str(error)) from None
    bare = [e.id for evalset in evalsets for e in evalset.examples]
    full = [f"{evalset.name}:{e.id}" for evalset in evalsets for e in evalset.examples]
    known = {*bare, *full}
    problems = []
    for case in cases:
        if case in known:
            continue
        near = get_close_matches(case, full if ":" in case else list(dict.fromkeys(bare)), n=3, cutoff=0.6)
        names = listed([evalset.name for evalset in evalsets]) or "no eval set under these paths"
        fix = f"did you mean {listed(near, last='or')}?" if near else f"name an example of {names}"
        problems.append(f"--ft-case: expected the id of an example, found {brief(case)}. Fix: {fix}")
    if problems:
        raise Unusable("\n".join(problems))
