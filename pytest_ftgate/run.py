"""One run, without pytest: the stage shared between processes, and one gate's Verdict from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evalsets.errors import InputError
from evalsets.types import EvalSet, GateSpec, Json
from pytest_ftgate.attempts import Attempt
from pytest_ftgate.contamination import judge_with_leaks
from pytest_ftgate.corroboration import corroborate as weigh
from pytest_ftgate.corroboration import with_corroboration
from pytest_ftgate.errors import BY_NAME, FolderError, FtgateError
from pytest_ftgate.gates import GateInput, error_verdict
from pytest_ftgate.measure import Levels
from pytest_ftgate.overlap_gate import Overlaps, judge_overlap
from pytest_ftgate.preflight import hopeless_verdict
from pytest_ftgate.prompting import question_text
from pytest_ftgate.scoring import needed_labels
from pytest_ftgate.settled import Looks, as_far_as_settled, cannot_stop, in_order
from pytest_ftgate.shared import one_at_a_time, read_shared, write_shared
from pytest_ftgate.stage import StageResult, Stopping, Work
from pytest_ftgate.store import from_json, to_json
from pytest_ftgate.types import Verdict
from pytest_ftgate.userfunction import scorer_source

STAGE_FILE = "ftgate-stage.json"
ATTEMPT_FILE = "ftgate-attempt-{}.json"


def work_for(
    selected: list[tuple[EvalSet, GateSpec]],
    *,
    corroborate: bool = False,
    stopping: Callable[[EvalSet, list[GateSpec]], Stopping | None] = lambda evalset, gates: None,
) -> list[Work]:
    """What the stage must answer for these gates, one Work per EvalSet.

    `corroborate`: where overlap is judged, references are to be weighed by candidate and base. `stopping`: when the
    candidate need not be asked the rest; not asked where references are weighed.
    """
    kinds: dict[str, list[GateSpec]] = {}
    sets: dict[str, EvalSet] = {}
    for evalset, gate in selected:
        sets[evalset.name] = evalset
        kinds.setdefault(evalset.name, []).append(gate)
    work = []
    for name, evalset in sets.items():
        weigh_too = corroborate and any(g.kind == "overlap" for g in kinds[name])
        labels = needed_labels(evalset.scorer) if evalset.scorer else ()
        stop = None if weigh_too else stopping(evalset, kinds[name])
        work.append(Work(evalset, tuple(g.kind for g in kinds[name]), labels, weigh_too, stop))
    return work


def stopping_for(
    evalset: EvalSet, gates: list[GateSpec], levels: Levels, leaked: Callable[[EvalSet], Set[str]]
) -> Stopping | None:
    """When the gates of one eval set are settled; None where that cannot be proven before all is answered.

    `leaked`: ids of examples in the training data; without them every gate is judged again, on counts of its own.
    """
    judged = [gate for gate in gates if gate.kind != "overlap"]
    if not judged or cannot_stop(evalset, judged) or leaked(evalset):
        return None
    looks = Looks(evalset, judged, levels)
    # The order of early stopping must owe nothing to the prompts; that of curtailment may be any.
    return Stopping(tuple(e.id for e in in_order(evalset)), looks.settled, ends_first=not evalset.early_stop)


def shared_stage(directory: Path, compute: Callable[[], StageResult]) -> StageResult:
    """Run `compute` in the first process that comes here; all others read what it wrote, a failure included.

    Raises FtgateError, the recorded one too: a load that failed is not tried again by every worker.
    """
    target = directory / STAGE_FILE
    with one_at_a_time(directory, "ftgate-stage.lock"):
        if not target.is_file():
            _compute_into(target, compute)
        loaded = read_shared(target)
    if "error" in loaded:
        told = loaded["error"]
        raise BY_NAME.get(told["kind"], FtgateError)(told["message"], told["fix"])
    return _from_json(loaded["result"])


def _compute_into(target: Path, compute: Callable[[], StageResult]) -> None:
    try:
        write_shared(target, {"result": _to_json(compute())})
    except FtgateError as error:  # also where there is no room for the answers: there may be for this
        _record_failure(target, error)
        raise
    except Exception as error:
        # A defect, or a library's own error: shown with its traceback here, and not tried again elsewhere.
        message = f"the stage broke in another process: {type(error).__name__}: {str(error)[:300]}"
        _record_failure(target, FtgateError(message, "run without -n to see where"))
        raise


def _record_failure(target: Path, error: FtgateError) -> None:
    with contextlib.suppress(FolderError):  # then every process finds out for itself
        write_shared(target, {"error": {"kind": type(error).__name__, "message": error.message, "fix": error.fix}})


def shared_attempt(directory: Path, evalset: str, compute: Callable[[], Attempt]) -> Attempt:
    """Count once, in the first process that comes here: all gates of an eval set are judged at one level.

    Raises FolderError.
    """
    target = directory / ATTEMPT_FILE.format(evalset)
    with one_at_a_time(directory, "ftgate-attempt.lock"):
        if not target.is_file():
            write_shared(target, compute().to_json())
        return Attempt.from_json(read_shared(target))


def read_attempts(directory: Path, evalsets: Iterable[str]) -> list[Attempt]:
    """What `shared_attempt` counted for these eval sets; those that were not judged are left out."""
    files = [directory / ATTEMPT_FILE.format(name) for name in evalsets]
    return [Attempt.from_json(read_shared(f)) for f in files if f.is_file()]


def read_stage(directory: Path) -> StageResult | None:
    """What `shared_stage` wrote into this directory; None where no stage ran, or it failed."""
    target = directory / STAGE_FILE
    if not target.is_file():
        return None
    loaded = read_shared(target)
    return _from_json(loaded["result"]) if "result" in loaded else None


def judge_gate(
    evalset: EvalSet,
    gate: GateSpec,
    overlaps: Overlaps,
    levels: Levels,
    stage: Callable[[], StageResult],
    *,
    corroborate: bool = False,
    judge_hopeless: bool = False,
) -> Verdict:
    """The Verdict of one gate; whatever keeps it from judging becomes an ERROR. `stage` is called only where needed.

    `judge_hopeless`: judge also what cannot pass with these examples.
    """
    name = f"{evalset.name}::{gate.kind}"
    try:
        if gate.kind == "overlap":
            verdict = judge_overlap(evalset, gate, overlaps.report(evalset))
            if not corroborate:
                return verdict
            answers = stage().generations.get(evalset.name, {})
            return with_corroboration(verdict, weigh(evalset, answers, overlaps.leaked(evalset)))
        if not judge_hopeless and (hopeless := hopeless_verdict(evalset, gate, levels.alpha)):
            return hopeless
        result, leaked = stage(), overlaps.leaked(evalset)
        given = GateInput(evalset, gate, result.generations.get(evalset.name, {}), levels)
        given = as_far_as_settled(given, stopped=evalset.name in result.stopped, leaked=bool(leaked))
        return judge_with_leaks(given, leaked)
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
    value = asdict(replace(result, generations={}))
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
