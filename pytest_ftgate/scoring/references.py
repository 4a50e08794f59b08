"""Read the reference of an Example the way its scorer needs it; a reference that cannot be used is a ScoringError.

The loader of eval sets refuses such references before any model is loaded; here they must not become a zero.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import Example
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief, describe, key, listed
from pytest_ftgate.scoring.json_answer import compact
from pytest_ftgate.scoring.numbers import Number, parse_number


def unusable(example: Example, expected: str, fix: str) -> ScoringError:
    """The error for a reference that its scorer cannot use."""
    found = describe(example.target)
    return ScoringError(f"example {brief(example.id)}: expected {expected} as target, found {found}", fix)


def is_text(target: Json) -> bool:
    """Whether a reference is a string, or a list of strings only."""
    return isinstance(target, str) or (isinstance(target, list) and all(isinstance(t, str) for t in target))


def accepted(example: Example) -> tuple[str, ...]:
    """The strings that count as right, NFC and trimmed, none of them empty. A number or boolean stands for its JSON.

    Raises ScoringError.
    """
    target = example.target
    if isinstance(target, bool | int | float):
        return (compact(target),)
    texts = [target] if isinstance(target, str) else target
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        # An empty reference would be found in any answer.
        raise unusable(example, "a text or a list of texts, none empty", "write the right answer")
    return tuple(unicodedata.normalize("NFC", text).strip() for text in texts)


def label(example: Example, labels: Sequence[str]) -> str:
    """The right label. Raises ScoringError unless the target is one of `labels`, letter for letter."""
    if not isinstance(example.target, str) or example.target not in labels:
        raise unusable(example, f"one of {listed([brief(x) for x in labels], last='or')}", "correct target or labels")
    return example.target


def number(example: Example) -> Number:
    """The right number. Raises ScoringError unless the target is a finite number, or a text that is nothing else."""
    target = example.target
    plain = isinstance(target, int | float) and not isinstance(target, bool)
    text = compact(target) if plain else target
    found = parse_number(text) if isinstance(text, str) else None
    if found is None:
        raise unusable(example, "a finite number", "write it as 1234.5, or as '45%'")
    return found


def fields(example: Example, names: Sequence[str]) -> dict[str, Json]:
    """The right value of each named field. Raises ScoringError unless the target is an object with all of them."""
    target = example.target
    if not isinstance(target, dict) or not all(name in target for name in names):
        fix = "name the fields with `target: [field, ...]`, or make the target an object"
        raise unusable(example, f"an object with {listed([key(n) for n in names])}", fix)
    return {name: target[name] for name in names}
