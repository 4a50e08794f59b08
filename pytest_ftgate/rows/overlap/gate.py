"""Compares an overlap report with the bound of a gate."""

from __future__ import annotations

from pytest_ftgate.rows.overlap.report import OverlapReport

ALPHA = 0.05


def leaks_exceed(report: OverlapReport, *, bound: float, is_rate: bool = False, excess_only: bool = False) -> bool:
    """True where the gate must fail.

    `bound` is a number of examples, or a share of them where `is_rate`. `excess_only`: more leaks than that are still
    allowed while they are no more frequent than copies among the training rows themselves (Fisher, one-sided 5 %);
    for short classification inputs, which repeat by nature. A report with unread rows always fails, and so does
    `excess_only` without a baseline: what could not be judged does not pass.
    """
    if not report.is_judged:
        return True
    leaked = len({f.example_id for f in report.leaks})
    limit = bound * report.n_examples if is_rate else bound
    if leaked <= limit + 1e-9:
        return False
    return not excess_only or report.baseline is None or report.baseline.p_excess < ALPHA
