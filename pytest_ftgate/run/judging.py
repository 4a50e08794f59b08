"""One run, without pytest: the stage shared between processes, and one gate's Verdict from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set

from pytest_ftgate.answers.stage import StageResult, Stopping, Work
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.order import in_order
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.contamination import judge_with_leaks
from pytest_ftgate.gates.corroboration import corroborate as weigh
from pytest_ftgate.gates.corroboration import with_corroboration
from pytest_ftgate.gates.curtailment import Looks, as_far_as_settled, cannot_stop
from pytest_ftgate.gates.given import Answers, GateInput, copies_in, error_verdict
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.overlap import Overlaps, judge_overlap
from pytest_ftgate.gates.paired import references_of
from pytest_ftgate.gates.power import hopeless_verdict
from pytest_ftgate.results import Verdict
from pytest_ftgate.scoring.kept import Scores
from pytest_ftgate.scoring.own_function import scorer_source
from pytest_ftgate.scoring.scorers import needed_labels


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
        weigh_too = corroborate and any(not g.row.asks_model for g in kinds[name])
        labels = needed_labels(evalset.scorer) if evalset.scorer else ()
        stop = None if weigh_too else stopping(evalset, kinds[name])
        work.append(Work(evalset, tuple(g.kind for g in kinds[name]), labels, weigh_too, stop))
    return work


def stopping_for(
    evalset: EvalSet,
    gates: list[GateSpec],
    levels: Levels,
    leaked: Callable[[EvalSet], Set[str]],
    scores: Scores | None = None,
) -> Stopping | None:
    """When the gates of one eval set are settled; None where that cannot be proven before all is answered.

    `leaked`: ids of examples in the training data; without them every gate is judged again, on counts of its own.
    `scores`: where those of the answers looked at are kept.
    """
    judged = [gate for gate in gates if gate.row.asks_model]
    if not judged or cannot_stop(evalset, judged) or leaked(evalset):
        return None
    looks = Looks(evalset, judged, levels, scores)
    # The order of early stopping must owe nothing to the prompts; that of curtailment may be any.
    return Stopping(tuple(e.id for e in in_order(evalset)), looks.settled, ends_first=not evalset.early_stop)


def score_answers(selected: Sequence[tuple[EvalSet, GateSpec]], answers: Mapping[str, Answers], scores: Scores) -> None:
    """Score, once for all processes, what these gates are going to read; `answers` by EvalSet name.

    At an answer that cannot be scored the gate ends as an ERROR, so no more of that system are scored.
    """
    for evalset, gate in selected:
        if not gate.row.scores:
            continue
        got = answers.get(evalset.name, {})
        others = references_of(GateInput(evalset, gate, got, Levels())) if gate.row.paired else []
        for system in ("candidate", *others):
            mine = got.get(system, {})
            with contextlib.suppress(FtgateError, InputError):  # kept, or found again: the gate says so
                for example in evalset.examples:
                    if example.id in mine and mine[example.id].finish_reason != "error":
                        scores.score(evalset, system, example, mine[example.id])


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
    name = gate_name(evalset.name, gate.kind)
    try:
        if not gate.row.asks_model:
            verdict = judge_overlap(evalset, gate, overlaps.report(evalset))
            if not corroborate:
                return verdict
            answers = stage().generations.get(evalset.name, {})
            return with_corroboration(verdict, weigh(evalset, answers, overlaps.leaked(evalset)))
        if not judge_hopeless and (hopeless := hopeless_verdict(evalset, gate, levels.alpha)):
            return hopeless
        result, leaked = stage(), overlaps.leaked(evalset)
        answers, scores = result.generations.get(evalset.name, {}), Scores(result.scores)
        given = GateInput(evalset, gate, answers, levels, result.engine, scores=scores)
        given = as_far_as_settled(given, stopped=evalset.name in result.stopped, leaked=bool(leaked))
        return judge_with_leaks(given, leaked)
    except FtgateError as error:
        return error_verdict(name, gate.kind, error.message, error.fix, reason=type(error).__name__)
    except InputError as error:
        return error_verdict(name, gate.kind, str(error), "see above", reason=type(error).__name__)


def evalset_facts(evalset: EvalSet) -> dict[str, Json]:
    """What a receipt says of an eval set: digests of what was asked and of the code that scored, and how many.

    `distinct`: questions that are no copies of one another, as the gates count them where no cluster is named.
    """
    return {
        "name": evalset.name,
        "digest": {"sha256": evalset.digest},
        "n": len(evalset.examples),
        "distinct": len(set(copies_in(evalset))),
        "gates": [[gate.kind, gate.bound, dict(gate.options)] for gate in evalset.gates],
        "scorer": scorer_source(evalset.scorer) if evalset.scorer else None,
    }
