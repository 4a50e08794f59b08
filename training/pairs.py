"""Preference pairs: which rows a method takes, and what may be wrong with pairs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.problems import Problem
from pytest_ftgate.rows.types import TrainingRow
from training.data import Encoded, named
from training.methods import METHODS, names_where

LONGER_SHARE = 0.8
"""Above this share of pairs whose chosen answer is the longer one, length alone tells the two apart."""

Key = tuple[tuple[str, str], ...]


def kind_problems(method: str, rows: Sequence[TrainingRow]) -> list[Problem]:
    """Rows that the method cannot train on: pairs where it takes answers, answers where it takes pairs; pairs that hold
    nothing to prefer."""
    if METHODS[method].rows != "pairs":
        pair = next((row for row in rows if row.rejected), None)
        if pair is None:
            return []
        what = f"expected rows with one answer for method {method}, found a preference pair"
        fix = (
            f"write `method: {names_where(lambda row: row.rows == 'pairs')}`, or keep the chosen answer as `completion`"
        )
        return [Problem(pair.path, pair.row, "", what, fix)]
    single = next((row for row in rows if not row.rejected), None)
    if single is not None:
        what = f"expected `prompt`, `chosen` and `rejected` for method {method}, found a row with one answer"
        return [Problem(single.path, single.row, "", what, "add the rejected answer, or write another method")]
    other = next((row for row in rows if row.form != rows[0].form), None)
    if other is not None:
        what = f"expected all pairs in one form, as the first ({rows[0].form}), found {other.form}"
        return [Problem(other.path, other.row, "", what, "write all as messages, or all as text")]
    return [
        Problem(
            row.path,
            row.row,
            "rejected",
            "expected another answer than the chosen one, found the same",
            "delete the row",
        )
        for row in rows
        if _chosen(row) == _texts(row.rejected)
    ]


def pair_warnings(rows: Sequence[TrainingRow], encoded: Sequence[Encoded]) -> list[str]:
    """Copies, pairs that contradict one another, and pairs that length alone tells apart."""
    places: dict[tuple[Key, tuple[str, ...], tuple[str, ...]], list[TrainingRow]] = defaultdict(list)
    for row in rows:
        places[_prompt(row), _chosen(row), _texts(row.rejected)].append(row)
    warnings = []
    copies = [found for found in places.values() if len(found) > 1]
    if copies:
        extra = sum(len(found) - 1 for found in copies)
        warnings.append(f"{extra} pairs are exact copies of earlier pairs: {named(copies[0])}")
    both = [key for key in places if key[1] < key[2] and (key[0], key[2], key[1]) in places]
    if both:
        one, two = places[both[0]], places[both[0][0], both[0][2], both[0][1]]
        warnings.append(f"{len(both)} pairs stand both ways round, chosen and rejected swapped: {named([*one, *two])}")
    longer = Counter(len(one.input_ids) > len(one.rejected.input_ids) for one in encoded if one.rejected)
    if longer[True] > LONGER_SHARE * longer.total():
        text = f"the chosen answer is the longer one in {longer[True]} of {longer.total()} pairs"
        warnings.append(f"{text}: length alone tells them apart, and may be what is learnt")
    return warnings


def _prompt(row: TrainingRow) -> Key:
    return tuple((m.role, m.content) for m in row.messages[: len(row.messages) - len(_chosen(row))])


def _chosen(row: TrainingRow) -> tuple[str, ...]:
    """The assistant turns after the last question."""
    asked = 1 + max(i for i, message in enumerate(row.messages) if message.role != "assistant")
    return tuple(message.content for message in row.messages[asked:])


def _texts(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message.content for message in messages)
