"""What a look costs: nothing, or an attempt that the user said to spend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_ftgate.errors import Unusable
from pytest_ftgate.evalset.loader import load_evalset, read_header
from pytest_ftgate.evalset.subset import Subset
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.wording import listed

SPEND = "--ft-spend-attempt"


def check_looks(subset: Subset, paths: Sequence[Path], *, spend: bool, written: Sequence[str]) -> None:
    """A look at a set that is sealed or shares alpha is asked for by name. Raises Unusable, before any answer."""
    if spend and SPEND not in written:
        raise Unusable(f"{SPEND} stands in a configuration file. Fix: give it on the command line, look by look")
    if spend and not subset.is_part:
        raise Unusable(f"{SPEND}: expected --ft-limit or --ft-case beside it, found neither. Fix: leave the option out")
    if spend or not subset.is_part:
        return
    try:
        costly = [found for path in paths if (found := _cost(path, subset))]
    except InputError as error:
        raise Unusable(str(error)) from None
    if costly:
        option = "--ft-case" if subset.cases else "--ft-limit"
        raise Unusable(
            f"{option}: a look at {listed(costly)} would be an attempt on the whole eval set. Fix: look at other "
            f"examples (`evals/dev.eval.yaml` with `spend: none` and full feedback), or spend the attempt with {SPEND}"
        )


def _cost(path: Path, subset: Subset) -> str:
    """`tickets (sealed, spend: harmonic)`. Empty where a look is free, or none of its examples is asked."""
    header = read_header(path)
    terms = ["sealed"] * (header.attempts.feedback == "sealed")
    if header.attempts.spend != "none":
        terms.append(f"spend: {header.attempts.spend}")
    if not terms or (subset.cases and not subset.of(load_evalset(path)).examples):
        return ""
    return f"{header.name} ({', '.join(terms)})"
