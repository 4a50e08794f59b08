"""Macro-F1 and the confusion matrix of a choice eval set, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class ClassificationTable(TypedDict):
    """How right and wrong labels went together; strict JSON."""

    labels: list[str]
    """Rows of the matrix, and its columns but the last."""
    matrix: list[list[int]]
    """Examples by right label (row) and answered label (column); the last column counts answers that are no label."""
    macro_f1: float
    """Mean F1 of the labels that occur as target or as answer, in [0, 1]; an unreadable answer is a miss."""
    n: int


def classification_table(
    targets: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]
) -> ClassificationTable:
    """Compare right labels with answered ones; None, and any answer outside `labels`, is unreadable.

    Raises ValueError for no examples, for lengths that differ and for a target outside `labels`.
    """
    if not targets or len(targets) != len(answers):
        raise ValueError(f"expected as many answers as targets, at least one, found {len(answers)} and {len(targets)}")
    if not set(targets) <= set(labels) or len(set(labels)) < len(labels):
        raise ValueError("expected distinct labels that hold every target")
    from sklearn.metrics import confusion_matrix, f1_score

    index = {label: i for i, label in enumerate(labels)}
    unreadable = len(labels)
    right = [index[target] for target in targets]
    given = [unreadable if answer is None else index.get(answer, unreadable) for answer in answers]
    matrix = confusion_matrix(right, given, labels=range(len(labels) + 1))[:-1]
    occurring = sorted({*right, *given} - {unreadable})
    macro_f1 = f1_score(right, given, labels=occurring, average="macro", zero_division=0.0)
    rows = [[int(count) for count in row] for row in matrix]
    return {"labels": list(labels), "matrix": rows, "macro_f1": float(macro_f1), "n": len(targets)}
