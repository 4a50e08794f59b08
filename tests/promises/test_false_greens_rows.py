"""Ways for a bad model to ship, each run in this process; tests/slow runs the same rows as processes and with -n."""

from __future__ import annotations

import pytest
from false_greens_rows import ROWS
from falsegreens import Row
from gateproject import Project


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row(project: Project, monkeypatch: pytest.MonkeyPatch, row: Row) -> None:
    row.here(project, monkeypatch)
