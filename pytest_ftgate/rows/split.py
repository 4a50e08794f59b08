"""Rows divided into a training part and a held-out part, so that what repeats never stands on both sides.

    split = hold_out(items, 0.1, seed=0, strata=[...], clusters=[...])
    split.held          positions of the held-out items

Rows that repeat one another (rows.overlap.repeats), and rows of one cluster, form groups; a group goes to one side
as a whole. The division is then searched by the overlap engine as a gate would do it, and what is still found on both
sides is joined and divided anew, until nothing is found.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.rows.overlap import OverlapOptions, find_overlaps
from pytest_ftgate.rows.overlap.items import Item
from pytest_ftgate.rows.overlap.repeats import repeats, rows_of

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stratum:
    """How one stratum was divided."""

    name: str
    rows: int
    held: int


@dataclass(frozen=True, slots=True)
class Split:
    """A division of n rows."""

    held: tuple[int, ...]
    """Positions of the held-out rows, ascending."""
    groups: int
    """Groups that were divided; a row that nothing repeats is one of its own."""
    together: int
    """Rows in groups of more than one."""
    largest: int
    """Rows of the largest group."""
    strata: tuple[Stratum, ...]
    """By name; one without a name where nothing was stratified."""
    rounds: int
    """Divisions that were searched; the last one was clean."""


def hold_out(
    items: Sequence[Item],
    share: float,
    *,
    seed: int,
    strata: Sequence[str] | None = None,
    clusters: Sequence[Hashable] | None = None,
) -> Split:
    """Hold out about `share` (in (0, 1)) of the items, of each stratum if there are strata. Deterministic.

    `strata`, `clusters`: one value for each item. Raises InputError where groups are too large to be divided.
    """
    names = list(strata) if strata is not None else [""] * len(items)
    pairs = [*repeats(items), *_same(clusters or ())]
    rounds = 0
    while True:
        rounds += 1
        groups = _components(len(items), pairs)
        held = _draw(groups, names, share, seed)
        if not 0 < len(held) < len(items):
            raise InputError([_undivided(len(items), groups, share)])
        straddling = _straddling(items, held)
        if not straddling:
            break
        pairs += straddling  # joins at least two groups, so this ends
    sizes = Counter(groups).values()
    rows, out = Counter(names), Counter(names[i] for i in held)
    return Split(
        held=tuple(sorted(held)),
        groups=len(sizes),
        together=sum(size for size in sizes if size > 1),
        largest=max(sizes),
        strata=tuple(Stratum(name, rows[name], out[name]) for name in sorted(rows)),
        rounds=rounds,
    )


def quotas(rows: Counter[str], share: float, seed: int) -> dict[str, int]:
    """Rows to hold out of each stratum: `share` of it, rounded (largest remainder) so that the sum is that of all.

    Among equal remainders the seed decides: by name, the first in the alphabet would always be held out.
    """
    total = max(1, round(share * rows.total()))
    exact = {name: share * n for name, n in rows.items()}
    found = {name: int(value) for name, value in exact.items()}
    draw = random.Random(seed)
    place = {name: draw.random() for name in sorted(exact)}
    rest = sorted(exact, key=lambda name: (found[name] - exact[name], place[name]))
    for name in rest[: max(0, total - sum(found.values()))]:
        found[name] += 1
    return found


def _same(clusters: Sequence[Hashable]) -> list[Pair]:
    """Pairs that chain the rows of each cluster."""
    last: dict[Hashable, int] = {}
    pairs = []
    for i, cluster in enumerate(clusters):
        if cluster in last:
            pairs.append((last[cluster], i))
        last[cluster] = i
    return pairs


def _components(n: int, pairs: Sequence[Pair]) -> list[int]:
    """The group of each of n rows: rows joined by a chain of pairs have one. Named by its first row."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    graph = coo_matrix((np.ones(len(pairs), np.int8), (left, right)), shape=(n, n))
    labels = connected_components(graph, directed=False)[1].tolist()
    first: dict[int, int] = {}
    return [first.setdefault(label, i) for i, label in enumerate(labels)]


def _draw(groups: Sequence[int], names: Sequence[str], share: float, seed: int) -> set[int]:
    """Groups in random order, each held out if that brings the strata nearer to their quotas.

    In random order, not by size: large groups would else all be held out. A group's place in the order depends on its
    first row alone, so that joining a few groups leaves the rest of the division as it was.
    """
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    missing = quotas(Counter(names), share, seed)
    held: set[int] = set()
    draw = random.Random(seed)
    place = [draw.random() for _ in groups]
    for group in sorted(members, key=lambda group: place[group]):
        counts = Counter(names[i] for i in members[group])
        if sum((missing[name] - n) ** 2 - missing[name] ** 2 for name, n in counts.items()) < 0:
            held.update(members[group])
            for name, n in counts.items():
                missing[name] -= n
    return held


def _straddling(items: Sequence[Item], held: set[int]) -> list[Pair]:
    """(held-out row, training row) of every leak that the overlap engine finds between the two parts."""
    asked = [Item(str(i), items[i].input, items[i].output) for i in sorted(held)]
    rows = rows_of(items, [i for i in range(len(items)) if i not in held])
    options = OverlapOptions(rephrase=False, pseudo_examples=0, texts=False)
    return [(int(leak.example_id), leak.row) for leak in find_overlaps(asked, rows, options=options).leaks]


def _undivided(n: int, groups: Sequence[int], share: float) -> Problem:
    largest = max(Counter(groups).values(), default=0)
    together = f"of which {largest} repeat one another" if largest > 1 else "that do not repeat one another"
    what = f"expected rows that can be divided at {share:g}, found {n} row{'s' * (n != 1)} {together}"
    return Problem("rows", None, "", what, "add rows, leave out copies, or use another cluster or share")
