"""One run, without pytest: the stage shared between processes, and one gate's Verdict from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from evalsets.errors import InputError
from evalsets.files import write_text
from evalsets.types import EvalSet, GateSpec, Json
from pytest_ftgate.contamination import judge_with_leaks
from pytest_ftgate.corroboration import corroborate as weigh
from pytest_ftgate.corroboration import with_corroboration
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.gates import GateInput, error_verdict
from pytest_ftgate.measure import Levels
from pytest_ftgate.overlap_gate import Overlaps, judge_overlap
from pytest_ftgate.prompting import question_text
from pytest_ftgate.scoring import needed_labels
from pytest_ftgate.stage import StageResult, Work
from pytest_ftgate.store import from_json, to_json
from pytest_ftgate.types import Verdict
from pytest_ftgate.userfunction import scorer_source

STAGE_FILE = "ftgate-stage.json"


def work_for(selected: list[tuple[EvalSet, GateSpec]], *, corroborate: bool = False) -> list[Work]:
    """What the stage must answer for these gates, one Work per EvalSet.

    `corroborate`: where overlap is judged, references are to be weighed by candidate and base.
    """
    kinds: dict[str, list[GateSpec]] = {}
    sets: dict[str, EvalSet] = {}
    for evalset, gate in selected:
        sets[evalset.name] = evalset
        kinds.setdefault(evalset.name, []).append(gate)
    return [
        Work(
            evalset,
            tuple(g.kind for g in kinds[name]),
            needed_labels(evalset.scorer) if evalset.scorer else (),
            corroborate and any(g.kind == "overlap" for g in kinds[name]),
        )
        for name, evalset in sets.items()
    ]


def shared_stage(directory: Path, compute: Callable[[], StageResult]) -> StageResult:
    """Run `compute` in the first process that comes here; all others read what it wrote, a failure included.

    Raises FtgateError, the recorded one too: a load that failed is not tried again by every worker.
    """
    target = directory / STAGE_FILE
    with FileLock(directory / "ftgate-stage.lock"):
        if not target.is_file():
            try:
                _record(target, {"result": _to_json(compute())})
            except FtgateError as error:
                _record(target, {"error": {"message": error.message, "fix": error.fix}})
            except Exception as error:
                # A defect, or a library's own error: shown with its traceback here, and not tried again elsewhere.
                message = f"the stage broke in another process: {type(error).__name__}: {str(error)[:300]}"
                _record(target, {"error": {"message": message, "fix": "run without -n to see where"}})
                raise
        loaded = json.loads(target.read_text(encoding="utf-8"))
    if "error" in loaded:
        raise FtgateError(loaded["error"]["message"], loaded["error"]["fix"])
    return _from_json(loaded["result"])


def _record(target: Path, content: dict[str, Any]) -> None:
    write_text(target, json.dumps(content, allow_nan=False))


def read_stage(directory: Path) -> StageResult | None:
    """What `shared_stage` wrote into this directory; None where no stage ran, or it failed."""
    target = directory / STAGE_FILE
    if not target.is_file():
        return None
    loaded = json.loads(target.read_text(encoding="utf-8"))
    return _from_json(loaded["result"]) if "result" in loaded else None


def judge_gate(
    evalset: EvalSet,
    gate: GateSpec,
    overlaps: Overlaps,
    levels: Levels,
    stage: Callable[[], StageResult],
    *,
    corroborate: bool = False,
) -> Verdict:
    """The Verdict of one gate; whatever keeps it from judging becomes an ERROR. `stage` is called only where needed."""
    name = f"{evalset.name}::{gate.kind}"
    try:
        if gate.kind == "overlap":
            verdict = judge_overlap(evalset, gate, overlaps.report(evalset))
            if not corroborate:
                return verdict
            answers = stage().generations.get(evalset.name, {})
            return with_corroboration(verdict, weigh(evalset, answers, overlaps.leaked(evalset)))
        given = GateInput(evalset, gate, stage().generations.get(evalset.name, {}), levels)
        return judge_with_leaks(given, overlaps.leaked(evalset))
    except FtgateError as error:
        return error_verdict(name, gate.kind, error.message, error.fix, reason=type(error).__name__)
    except InputError as error:
        return error_verdict(name, gate.kind, str(error), "see above", reason=type(error).__name__)


def evalset_facts(evalset: EvalSet) -> dict[str, Json]:
    """What a receipt says of an eval set: digests of what was asked and of the code that scored, and how many."""
    questions = {" ".join(question_text(evalset.prompt, example).split()) for example in evalset.examples}
    return {
        "name": evalset.name,
        "digest": {"sha256": evalset.digest},
        "n": len(evalset.examples),
        "distinct": len(questions),
        "gates": [[gate.kind, gate.bound, dict(gate.options)] for gate in evalset.gates],
        "scorer": scorer_source(evalset.scorer) if evalset.scorer else None,
    }


def _to_json(result: StageResult) -> dict[str, Any]:
    value = {**asdict(result), "generations": {}}
    for evalset, systems in result.generations.items():
        value["generations"][evalset] = {
            system: {example: to_json(generation) for example, generation in answers.items()}
            for system, answers in systems.items()
        }
    return value


def _from_json(value: dict[str, Any]) -> StageResult:
    generations = {
        evalset: {
            system: {example: from_json(generation) for example, generation in answers.items()}
            for system, answers in systems.items()
        }
        for evalset, systems in value["generations"].items()
    }
    return StageResult(**{**value, "generations": generations})
