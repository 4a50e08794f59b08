"""Which prompts are answered on top of one prefix: nothing lost, nothing shared that is not equal, and worth it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.answers.engine.prefix import Group, group_by_prefix, shared_length

LONG = tuple(range(100, 200))
prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), max_size=25)


def saved(groups: list[Group]) -> int:
    return sum(group.prefix * (len(group.rows) - 1) for group in groups)


@given(prompts, st.integers(0, 6), st.lists(st.integers(0, 2), max_size=6).map(tuple))
def test_every_prompt_is_in_one_group_and_shares_its_prefix(
    asked: list[tuple[int, ...]], overhead: int, known: tuple[int, ...]
) -> None:
    groups = group_by_prefix(asked, overhead=overhead, known=known)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(asked)))
    lengths = []
    for group in groups:
        rows = [asked[row] for row in group.rows]
        assert len({row[: group.prefix] for row in rows}) == 1
        assert all(len(row) > group.prefix for row in rows)
        assert [len(row) for row in rows] == sorted((len(row) for row in rows), reverse=True)
        lengths.append(len(rows[0]))
    assert lengths == sorted(lengths, reverse=True)


def best_single_group(asked: list[tuple[int, ...]]) -> int:
    """Most tokens that one group alone can save: over every prefix of every prompt."""
    tried = {row[:depth] for row in asked for depth in range(len(row))}
    sharing = {prefix: sum(row[: len(prefix)] == prefix for row in asked) for prefix in tried}
    return max((len(prefix) * (rows - 1) for prefix, rows in sharing.items()), default=0)


@given(prompts)
def test_no_group_alone_would_save_more(asked: list[tuple[int, ...]]) -> None:
    asked = [(*row, 10 + i) for i, row in enumerate(asked)]  # none is the beginning of another
    assert saved(group_by_prefix(asked, overhead=0)) >= best_single_group(asked)


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_shared_length(left: list[int], right: list[int]) -> None:
    n = shared_length(left, right)
    assert left[:n] == right[:n]
    assert n == min(len(left), len(right)) or left[n] != right[n]


def test_a_rung_and_the_rest() -> None:
    """Few-shot prompts share their shots; zero-shot ones, which share a few tokens with those, only the system turn."""
    few = [(1, 2, 3, 4, *LONG, 50 + i, i % 5) for i in range(10)]
    zero = [(1, 2, 3, 4, 5, 60 + i) for i in range(10)]
    first, second = group_by_prefix([*zero, *few], overhead=20)
    assert (first.prefix, sorted(first.rows)) == (104, list(range(10, 20)))
    assert (second.prefix, sorted(second.rows)) == (5, list(range(10)))


def test_what_saves_too_little_shares_nothing() -> None:
    asked = [(1, 2, 3, i) for i in range(5)]
    assert group_by_prefix(asked, overhead=12) == [Group(0, (0, 1, 2, 3, 4))]
    assert group_by_prefix(asked, overhead=11) == [Group(3, (0, 1, 2, 3, 4))]


def test_equal_prompts_still_compute_their_last_token() -> None:
    assert group_by_prefix([LONG, LONG], overhead=0) == [Group(len(LONG) - 1, (0, 1))]


def test_a_known_prefix_serves_a_single_prompt() -> None:
    asked = [(*LONG, 7), (9, 9)]
    assert group_by_prefix(asked, overhead=20) == [Group(0, (0, 1))]
    assert group_by_prefix(asked, overhead=20, known=LONG) == [Group(100, (0,)), Group(0, (1,))]


def test_many_prompts_are_grouped_in_no_time() -> None:
    asked = [(*LONG * 8, 1000 + i, *range(i % 7)) for i in range(20_000)]
    (group,) = group_by_prefix(asked, overhead=100)
    assert group.prefix == 800
