"""Arguments that cannot be: each check raises ValueError naming what was expected and what was found."""

from __future__ import annotations

import math


def check_open(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low < value < high (a NaN is outside)."""
    if not low < value < high:
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}, not {value!r}")


def check_closed(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low <= value <= high (a NaN is outside)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], not {value!r}")


def check_count(name: str, value: int, *, least: int = 0) -> None:
    """Raise ValueError unless value is a whole number of at least `least`."""
    if not math.isfinite(value) or value != math.floor(value):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")


def check_pairs(gains: int, losses: int, n: int) -> None:
    """Raise ValueError unless gains and losses are counts that fit into n >= 1 pairs."""
    check_count("gains", gains)
    check_count("losses", losses)
    check_count("n", n, least=1)
    if gains + losses > n:
        raise ValueError(f"gains + losses must be at most n: {gains} + {losses} > {n}")


def check_successes(successes: int, n: int) -> None:
    """Raise ValueError unless successes is a count of at most n >= 1."""
    check_count("successes", successes)
    check_count("n", n, least=1)
    if successes > n:
        raise ValueError(f"successes must be at most n: {successes} > {n}")
