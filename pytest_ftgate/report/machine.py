"""The verdict for programs: one strict JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pytest_ftgate import __version__
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.results import Verdict

SCHEMA_VERSION = 1


def verdict_json(
    decision: Decision,
    verdicts: Sequence[Verdict],
    engine: Mapping[str, Json],
    counts: Mapping[str, Json],
    command: str,
    *,
    policy: Mapping[str, Json],
    ledger: Mapping[str, Json],
) -> str:
    """Sorted keys, UTF-8, no NaN; `version` names the schema."""
    content = {
        "version": SCHEMA_VERSION,
        "ftgate": __version__,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "exit_code": decision.exit_code,
        "gates": [asdict(v) for v in verdicts],
        "engine": dict(engine),
        "counts": dict(counts),
        "command": command,
        "policy": dict(policy),
        "ledger": dict(ledger),
    }
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=True) + "\n"
