"""The verdict for programs: one strict JSON file."""

from __future__ import annotations

import json

from pytest_ftgate import __version__
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.results import verdict_to_json

SCHEMA_VERSION = 1


def text(run: RunReport) -> str:
    """Sorted keys, UTF-8, no NaN; `version` names the schema."""
    content = {
        "version": SCHEMA_VERSION,
        "ftgate": __version__,
        "verdict": run.decision.verdict,
        "reason": run.decision.reason,
        "exit_code": run.decision.exit_code,
        "gates": [verdict_to_json(v) for v in run.verdicts],
        "engine": dict(run.engine),
        "counts": dict(run.counts),
        "command": run.command,
        "policy": run.policy.describe(),
        "ledger": dict(run.ledger),
    }
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=True) + "\n"
