"""What the reports of a run's tests say: verdicts, the stage, eval sets, and what failed besides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_ftgate.results import Outcome, Verdict, verdict_from_json
from pytest_ftgate.run.session import STAGE_PROPERTY, VERDICT_PROPERTY

WORSE: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "ERROR", "FAIL")


class Heard:
    """Mutable: it is fed by reports, in any order, from any number of workers."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        """By gate."""
        self.other_failures: set[str] = set()
        """Node ids that failed and are no gate, or a gate that passed."""
        self.xfailed: list[str] = []
        """Why a gate that was expected to fail was not judged: pytest shows no reason for such a test."""
        self.engine: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    def hear(self, nodeid: str, properties: Mapping[str, object], *, failed: bool, is_gate: bool) -> None:
        """One report of one phase of one test."""
        stage, told = properties.get(STAGE_PROPERTY), properties.get(VERDICT_PROPERTY)
        if isinstance(stage, str):
            facts = json.loads(stage)
            self.engine, self.counts = facts["engine"], facts["counts"]
        passed = isinstance(told, str) and self._judged(verdict_from_json(json.loads(told)))
        # A gate that passed and whose test failed all the same (a hook, a teardown) is no better than another test.
        if failed and (passed or not is_gate):
            self.other_failures.add(nodeid)

    def _judged(self, verdict: Verdict) -> bool:
        # A gate that is run again (a plugin that reruns failures, a scorer that draws lots) cannot get better.
        earlier = self.verdicts.get(verdict.gate, verdict)
        self.verdicts[verdict.gate] = max(earlier, verdict, key=lambda v: WORSE.index(v.outcome))
        why = f"{verdict.gate}: {verdict.summary}. Fix: {verdict.fix}"
        if verdict.reason == "XFAIL" and why not in self.xfailed:
            self.xfailed.append(why)
        return verdict.outcome == "PASS"
