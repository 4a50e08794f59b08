"""Every row of the tables of false greens, whatever file it stands in."""

from __future__ import annotations

import false_greens_generation as generation
import false_greens_identity as identity
import false_greens_selection as selection
import test_false_greens_process as process
import test_false_greens_receipts as receipts
from falsegreens import Row

ROWS: list[Row] = [row for module in (selection, process, identity, generation, receipts) for row in module.ROWS]
