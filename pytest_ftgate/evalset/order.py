"""The recorded order in which the examples of an eval set are asked."""

from __future__ import annotations

import hashlib

from pytest_ftgate.evalset.types import EvalSet, Example

ORDER_SEED = 20_240_229
"""Fixed, so that a verdict can be repeated; graded scores are bet on in an order of the same seed."""


def in_order(evalset: EvalSet) -> tuple[Example, ...]:
    """The examples in the order in which the candidate is asked: by sha256 of a fixed seed and the example's id."""

    def place(example: Example) -> bytes:
        return hashlib.sha256(f"{ORDER_SEED}:{example.id}".encode()).digest()

    return tuple(sorted(evalset.examples, key=place))
