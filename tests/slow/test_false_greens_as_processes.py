"""Each row of the false greens as a process of its own, and with two workers where that is another thing."""

from __future__ import annotations

import pytest
from false_greens_rows import ROWS
from falsegreens import Row
from gateproject import Project

CASES = [pytest.param(row, (), id=f"{row.name}-alone") for row in ROWS]
CASES += [pytest.param(row, ("-n", "2"), id=f"{row.name}-workers") for row in ROWS if row.workers]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "extra"), CASES)
def test_row_as_process(project: Project, row: Row, extra: tuple[str, ...]) -> None:
    row.process(project, *extra)
