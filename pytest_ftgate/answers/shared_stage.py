"""The stage's answers between the processes of one run: the first process makes them, all others read them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.answers.store import from_json, to_json
from pytest_ftgate.errors import BY_NAME, FolderError, FtgateError
from pytest_ftgate.files.shared_folder import one_at_a_time, read_shared, write_shared
from pytest_ftgate.results import Score, Unscored

STAGE_FILE = "ftgate-stage.json"


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


def read_stage(directory: Path) -> StageResult | None:
    """What `shared_stage` wrote into this directory; None where no stage ran, or it failed."""
    target = directory / STAGE_FILE
    return _read(target, target.stat().st_mtime_ns) if target.is_file() else None


@lru_cache(maxsize=1)
def _read(target: Path, written: int) -> StageResult | None:
    # Receipt, ledger and reports all ask; what one of them scores, the next one need not.
    loaded = read_shared(target)
    return _from_json(loaded["result"]) if "result" in loaded else None


def _to_json(result: StageResult) -> dict[str, Any]:
    value = asdict(replace(result, generations={}, scores={}))
    value["scores"] = _each(result.scores, _score_to_json)
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
    return StageResult(**{**value, "generations": generations, "scores": _each(value["scores"], _score_from_json)})


def _each(table: Mapping[str, Mapping[str, Mapping[str, Any]]], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        evalset: {system: {id_: change(one) for id_, one in found.items()} for system, found in systems.items()}
        for evalset, systems in table.items()
    }


def _score_to_json(score: Score | Unscored) -> list[Any]:
    if isinstance(score, Unscored):
        return [score.message, score.fix]
    return [score.value, score.answer, score.explanation, dict(score.parts)]


def _score_from_json(value: list[Any]) -> Score | Unscored:
    return Unscored(*value) if len(value) == 2 else Score(*value)
