"""Builds the receipt of a run: an in-toto Statement whose subjects are the candidate's files.

Numbers, digests, versions and names of gates; no prompts, no answers, no paths of the machine, no values of its
environment but the few below, in a fixed alphabet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from pytest_ftgate import __version__
from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.model.directory import IGNORED, dir_hash
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.model.unchanged import Snapshot
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.types import PolicyInForce
from pytest_ftgate.trust.receipt.form import PREDICATE_TYPE, STATEMENT_TYPE, TIME, VERIFIER

RUNTIME = {
    "attention": "attention",
    "batch_halvings": "batchHalvings",
    "batch_size": "batchSize",
    "chat_templates": "chatTemplates",
    "device": "device",
    "dtype": "dtype",
    "quantize": "quantize",
    "versions": "versions",
}
"""What the engine says of how it ran -> how the receipt calls it."""
CI = {
    "GITHUB_SERVER_URL": re.compile(r"https://[A-Za-z0-9.-]{1,200}"),
    "GITHUB_REPOSITORY": re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}"),
    "GITHUB_RUN_ID": re.compile(r"[0-9]{1,20}"),
    "GITHUB_RUN_ATTEMPT": re.compile(r"[0-9]{1,6}"),
    "GITHUB_SHA": re.compile(r"[0-9a-f]{40}"),
}
"""Variables of a GitHub run that a receipt names, and all that they may hold."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Everything that a receipt tells of a run."""

    decision: Decision
    scope: str
    """`full`, or `stopped` where the run ended at a gate that failed."""
    candidate: Candidate
    files: Snapshot
    verdicts: Sequence[Verdict]
    engine: Mapping[str, Json]
    stage: StageResult | None
    """Every answer; None where no gate asked a model."""
    evalsets: Mapping[str, Mapping[str, Json]]
    """Name -> digest, n, distinct, ... as judged."""
    policy: PolicyInForce
    policy_file: str | None
    """sha256 of ftgate.toml; None where there is none, or it stands at a ref."""
    results: str | None
    """sha256 of the file of --ft-json; None where none was written."""
    at: datetime
    """UTC."""
    days: int
    """How long the receipt is valid."""
    attempts: Json = None
    """What the run wrote into the ledger of attempts (`Recorded.to_json`); None where nothing counted."""


def statement(judged: Judged, environ: Mapping[str, str] = os.environ) -> dict[str, Json]:
    """Ready for `form.render`. Raises ValueError where a number is not finite."""
    files = judged.files.candidate
    predicate = {
        "verdict": judged.decision.verdict,
        "scope": judged.scope,
        "reason": visible(judged.decision.reason, limit=1000),
        "verifier": {"id": VERIFIER, "version": {"pytest-ftgate": __version__, "pytest": version("pytest")}},
        "timeVerified": judged.at.strftime(TIME),
        "notAfter": (judged.at + timedelta(days=judged.days)).strftime(TIME),
        "adapter": {
            "kind": judged.candidate.kind,
            "dirHash": dir_hash(files),
            "ignored": list(IGNORED),
            "peftType": "LORA" if judged.candidate.kind == "adapter" else None,
            "readBackTensors": judged.engine.get("read_back_tensors"),
            "effect": judged.engine.get("effect"),
        },
        "base": _base(judged),
        "policy": {
            "digest": {"sha256": judged.policy.digest},
            "uri": visible(judged.policy.uri, limit=200),
            "file": judged.policy_file,
            "changedInThisChange": judged.policy.changed_in_this_change,
        },
        "evalsets": [{"name": name, **dict(facts)} for name, facts in sorted(judged.evalsets.items())],
        "runtime": {RUNTIME[key]: judged.engine[key] for key in RUNTIME if key in judged.engine},
        "coverage": _coverage(judged),
        "gates": [_gate(verdict) for verdict in judged.verdicts],
        "attempts": judged.attempts,
        "results": {"sha256": judged.results} if judged.results else None,
        "run": _run(environ),
    }
    subjects = [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)]
    return {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": predicate}


def _base(judged: Judged) -> dict[str, Json]:
    name, revision = judged.candidate.base_revision
    return {
        "name": visible(name, limit=200),
        "revision": revision,
        "dirHash": dir_hash(judged.files.base),
        "files": dict(judged.files.base),
        "how": judged.engine.get("base"),
    }


def _coverage(judged: Judged) -> dict[str, Json]:
    """Answers planned, obtained and not; of those obtained, cut off; and how many were not generated in this run."""
    stage = judged.stage
    if stage is None:
        return {"planned": 0, "answered": 0, "errors": 0, "cutOff": 0, "stored": {}, "generated": {}}
    answers = [g for systems in stage.generations.values() for found in systems.values() for g in found.values()]
    errors = sum(answer.finish_reason == "error" for answer in answers)
    return {
        "planned": sum(counts["planned"] for counts in stage.counts.values()),
        "answered": len(answers) - errors,
        "errors": errors,
        "cutOff": sum(answer.finish_reason == "length" for answer in answers),
        "stored": {side: counts["stored"] for side, counts in stage.counts.items()},
        "generated": {side: counts["generated"] for side, counts in stage.counts.items()},
    }


def _gate(verdict: Verdict) -> dict[str, Json]:
    details = {key: verdict.details[key] for key in ("planned", "answered") if key in verdict.details}
    return {
        "id": verdict.gate,
        "required": True,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "value": verdict.value,
        "interval": list(verdict.interval) if verdict.interval else None,
        "bound": verdict.bound,
        "n": verdict.n,
        "p": verdict.p_value,
        **details,
    }


def _run(environ: Mapping[str, str]) -> dict[str, Json] | None:
    """Where it ran, in GitHub Actions; a variable that holds anything unexpected counts as not set."""
    found = {name: environ[name] for name, form in CI.items() if form.fullmatch(environ.get(name, ""))}
    if not {"GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"} <= found.keys():
        return None
    return {
        "uri": f"{found['GITHUB_SERVER_URL']}/{found['GITHUB_REPOSITORY']}/actions/runs/{found['GITHUB_RUN_ID']}",
        "attempt": int(found["GITHUB_RUN_ATTEMPT"]) if "GITHUB_RUN_ATTEMPT" in found else None,
        "commit": found.get("GITHUB_SHA"),
    }
