"""Groups prompts that begin alike, so that the shared part is computed once. Pure: token ids in, groups out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that are answered on top of one shared prefix."""

    prefix: int
    """Tokens at the start that every row shares; 0 where nothing worth it is shared. Every row is longer."""
    rows: tuple[int, ...]
    """Indices into the prompts, longest prompt first (it decides how much memory is needed)."""


def group_by_prefix(prompts: Sequence[Tokens], *, overhead: int, known: Tokens = ()) -> list[Group]:
    """Every prompt in one group, groups with the longest prompts first.

    A group is worth having where the tokens that it saves, prefix x (rows - 1), exceed `overhead`: what a batch of its
    own costs, in tokens. Of nested prefixes the one that saves most wins. `known` is a prefix whose keys and values
    are at hand already: rows that share it save them all. Empty prompts are not allowed.
    """
    rest, groups = list(range(len(prompts))), []
    while rest:
        found = _best_runs(prompts, rest, overhead, known)
        groups += [Group(depth, _longest_first(rows, prompts)) for depth, rows in found]
        taken = {row for _, rows in found for row in rows}
        if not taken:
            groups.append(Group(0, _longest_first(rest, prompts)))
            break
        # What is left may share a shorter prefix, which a better group in its middle had hidden.
        rest = [row for row in rest if row not in taken]
    return sorted(groups, key=lambda group: (-len(prompts[group.rows[0]]), group.rows))


def shared_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens the two have in common at the start; by bisection, since comparing slices is quick."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(slots=True)
class _Node:
    """A run of neighbours, in sorted order, that share `depth` tokens, and the best that can be made of it."""

    depth: int
    first: int
    saved: int = 0
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    """(depth, first, last) of disjoint runs that together save `saved` tokens"""

    def adopt(self, other: _Node) -> None:
        self.saved += other.saved
        self.runs += other.runs


def _best_runs(
    prompts: Sequence[Tokens], rows: Sequence[int], overhead: int, known: Tokens
) -> list[tuple[int, list[int]]]:
    """Disjoint (prefix length, rows) that save most: one pass over the tree of common prefixes, leaves up."""
    # The known prefix takes part as a row of its own, one token longer, since all of it may be shared.
    listed: list[tuple[Tokens, int]] = [(prompts[row], row) for row in rows]
    if known:
        listed.append(((*known, -1), -1))
    listed.sort()
    # The last token of a prompt is always computed: its logits are the first answer token.
    shared = [min(shared_length(a, b), len(a) - 1, len(b) - 1) for (a, _), (b, _) in pairwise(listed)]
    open_nodes = [_Node(0, 0)]
    for place, depth in enumerate([*shared, 0]):
        closed = _Node(depth, place)
        while open_nodes[-1].depth > depth:
            node = open_nodes.pop()
            node.adopt(closed)
            own = node.depth * (place - node.first) - overhead
            if own > node.saved:
                node.saved, node.runs = own, [(node.depth, node.first, place)]
            closed = _Node(depth, node.first, node.saved, node.runs)
        if open_nodes[-1].depth < depth:
            open_nodes.append(closed)
        else:
            open_nodes[-1].adopt(closed)
    return [
        (depth, [row for _, row in listed[first : last + 1] if row >= 0]) for depth, first, last in open_nodes[0].runs
    ]


def _longest_first(rows: Sequence[int], prompts: Sequence[Tokens]) -> tuple[int, ...]:
    return tuple(sorted(rows, key=lambda row: (-len(prompts[row]), row)))
