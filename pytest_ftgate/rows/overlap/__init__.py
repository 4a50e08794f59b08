"""Do training rows repeat what the model will be judged by?

    report = find_overlaps(items_of(evalset), ["train.jsonl"])
    report.leaks        exact and near copies: file, row, matched spans, and why
    leaks_exceed(report, bound=0)

The eval set is indexed and the training rows are streamed past it. Only `exact` and `near` are leaks; shared prompts,
other fills of a template, shared passages and short coincidences have classes of their own.
"""

from pytest_ftgate.rows.overlap.find import find_overlaps
from pytest_ftgate.rows.overlap.gate import leaks_exceed
from pytest_ftgate.rows.overlap.items import Item, items_of
from pytest_ftgate.rows.overlap.progress import Progress
from pytest_ftgate.rows.overlap.report import (
    Baseline,
    EvalDuplicates,
    Finding,
    OverlapOptions,
    OverlapReport,
    Rate,
    Span,
    TrainingDuplicates,
)

__all__ = [
    "Baseline",
    "EvalDuplicates",
    "Finding",
    "Item",
    "OverlapOptions",
    "OverlapReport",
    "Progress",
    "Rate",
    "Span",
    "TrainingDuplicates",
    "find_overlaps",
    "items_of",
    "leaks_exceed",
]
