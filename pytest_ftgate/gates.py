"""Generations -> Scores -> one Verdict per gate. Pure: no pytest, no model, no files beyond what scorers name.

Every gate has a bad null and passes only where that null is rejected (intersection-union over gates and rungs: a model
with any one thing wrong ships with probability at most alpha). What was not answered is never scored: it is an ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evalsets.types import EvalSet, GateSpec
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.formats import make_format_check
from pytest_ftgate.measure import Levels, Rate, compare, measure_rate
from pytest_ftgate.planning import Shortfall, paired_shortfall, rate_shortfall
from pytest_ftgate.prompting import question_text
from pytest_ftgate.scoring import classification_table, make_scorer
from pytest_ftgate.types import Comparison, Generation, Outcome, Score, Verdict

WORST = 8
"""Example ids named in a Verdict."""

Answers = Mapping[str, Mapping[str, Generation]]
"""System name -> example id -> Generation."""


@dataclass(frozen=True, slots=True)
class GateInput:
    """Everything that a gate on model answers is judged from."""

    evalset: EvalSet
    gate: GateSpec
    answers: Answers
    levels: Levels

    @property
    def name(self) -> str:
        """`tickets::accuracy`"""
        return f"{self.evalset.name}::{self.gate.kind}"

    @property
    def base_dir(self) -> Path:
        """Directory that the eval set's relative paths start from."""
        return self.evalset.path.parent

    @property
    def clusters(self) -> list[str | None]:
        """What each example is one observation of, in order; None: of itself.

        Where no cluster is named, examples that ask the same question count once: a copy is no new evidence.
        """
        examples = self.evalset.examples
        if any(example.cluster is not None for example in examples):
            return [example.cluster for example in examples]
        questions = [" ".join(question_text(self.evalset.prompt, example).split()) for example in examples]
        distinct = len(set(questions)) == len(questions)
        return [None] * len(questions) if distinct else list(questions)

    @property
    def unit(self) -> str:
        """What one observation is called in a sentence."""
        named = any(example.cluster is not None for example in self.evalset.examples)
        return "clusters" if named else "distinct questions"


def judge(given: GateInput) -> Verdict:
    """The Verdict of one format, accuracy, beats_baseline or forgetting gate.

    Raises ScoringError where a scorer or format check breaks; the caller makes that an ERROR.
    """
    if given.gate.kind == "format":
        return _judge_format(given)
    if given.gate.kind == "accuracy":
        return _judge_accuracy(given)
    return _judge_paired(given)


def error_verdict(name: str, kind: str, summary: str, fix: str, *, reason: str, n: int = 0) -> Verdict:
    """A gate that could not judge: it never passes."""
    return Verdict(name, kind, "ERROR", summary, fix, n, None, None, None, None, reason=reason)


def scores_of(evalset: EvalSet, generations: Mapping[str, Generation]) -> list[Score]:
    """Score every example in order. Raises ScoringError; every example must have been answered."""
    if evalset.scorer is None:
        raise ScoringError("the eval set has no scorer", fix="add `scorer:` to the eval-set file")
    scorer = make_scorer(evalset.scorer, base_dir=evalset.path.parent)
    return [scorer(example, generations[example.id]) for example in evalset.examples]


def _unanswered(given: GateInput, systems: Sequence[str]) -> Verdict | None:
    """ERROR where a planned example has no answer: dropped examples are how a bad model looks good."""
    for system in systems:
        got = given.answers.get(system, {})
        ids = [e.id for e in given.evalset.examples]
        lost = [i for i in ids if i not in got]
        if lost:
            summary = f"{len(lost)} of {len(ids)} examples were never answered by {system}: {', '.join(lost[:5])}"
            return error_verdict(given.name, given.gate.kind, summary, "run again", reason="MISSING", n=len(ids))
        failed = [i for i in ids if got[i].finish_reason == "error"]
        if failed:
            summary = (
                f"{len(failed)} of {len(ids)} examples could not be answered by {system} "
                f"({', '.join(failed[:5])}): {got[failed[0]].error}"
            )
            fix = "shorten the prompt or its shots, or lower generation.max_new_tokens"
            return error_verdict(given.name, given.gate.kind, summary, fix, reason="GENERATION", n=len(ids))
    return None


def _judge_format(given: GateInput) -> Verdict:
    if lost := _unanswered(given, ["candidate"]):
        return lost
    check = make_format_check(given.gate.options, base_dir=given.base_dir)
    examples = given.evalset.examples
    answers = [given.answers["candidate"][e.id] for e in examples]
    checks = [check(answer) for answer in answers]
    rate = measure_rate([float(c.strict) for c in checks], given.clusters, given.gate.bound, given.levels)
    broken = [(e.id, c) for e, c in zip(examples, checks, strict=True) if not c.strict]
    lenient = sum(c.lenient for c in checks)
    reasons: dict[str, int] = {}
    for _, c in broken:
        reasons[c.explanation] = reasons.get(c.explanation, 0) + 1
    details: dict[str, object] = {
        "strict": len(checks) - len(broken),
        "lenient": lenient,
        "cut_off": sum(a.finish_reason == "length" for a in answers),
        "violations": dict(sorted(reasons.items(), key=lambda item: -item[1])[:5]),
    }
    note = f"; {lenient} when JSON is searched for in the text" if lenient > len(checks) - len(broken) else ""
    fix = f"most frequent: {next(iter(details['violations']))}" if broken else ""  # type: ignore[call-overload]
    return _rate_verdict(given, rate, "obey the format", [i for i, _ in broken], details, note=note, fix=fix)


def _judge_accuracy(given: GateInput) -> Verdict:
    if lost := _unanswered(given, ["candidate"]):
        return lost
    examples = given.evalset.examples
    scores = scores_of(given.evalset, given.answers["candidate"])
    values = [s.value for s in scores]
    rate = measure_rate(values, given.clusters, given.gate.bound, given.levels)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    worst = [examples[i].id for i in order if values[i] < 1.0]
    fix = "read the worst answers, then add training rows like them or check their references"
    return _rate_verdict(given, rate, "are right", worst, _accuracy_details(given, scores), fix=fix)


def _accuracy_details(given: GateInput, scores: Sequence[Score]) -> dict[str, object]:
    details: dict[str, object] = {"unreadable": sum(s.answer is None for s in scores)}
    names = sorted({name for s in scores for name in s.parts})
    if names:
        details["fields"] = {name: sum(s.parts.get(name, 0.0) for s in scores) / len(scores) for name in names}
    scorer = given.evalset.scorer
    if scorer is not None and scorer.kind == "choice":
        labels = [str(label) for label in scorer.options["labels"]]
        targets = [str(e.target) for e in given.evalset.examples]
        details["classification"] = classification_table(targets, [s.answer for s in scores], labels)
    return details


def _rate_verdict(
    given: GateInput,
    rate: Rate,
    what: str,
    worst: Sequence[str],
    details: Mapping[str, object],
    *,
    note: str = "",
    fix: str = "",
) -> Verdict:
    bound = given.gate.bound
    low, high = rate.interval
    total = len(given.evalset.examples)
    counted = f"{rate.n} {given.unit} of {total} examples" if rate.n != total else f"{total} examples"
    summary = (
        f"{rate.value:.1%} of {counted} {what} (95% interval {low:.1%} to {high:.1%}{note}); "
        f"at least {bound:.1%} needed"
    )
    outcome: Outcome
    reason = ""
    if rate.p_good <= given.levels.alpha:
        outcome, fix = "PASS", ""
        summary += f", at least {rate.certified:.1%} certified"
    elif rate.p_bad <= given.levels.alpha_fail:
        outcome = "FAIL"
        summary += f", proven to be below (p = {rate.p_bad:.2g})"
    else:
        outcome = "INCONCLUSIVE"
        shortfall = rate_shortfall(rate.n, rate.value, bound, given.levels.alpha)
        reason, fix = shortfall.reason, shortfall.fix
        summary += f", not certified (p = {rate.p_good:.2g}): {shortfall.why}"
    return Verdict(
        gate=given.name,
        kind=given.gate.kind,
        outcome=outcome,
        summary=summary,
        fix=fix,
        n=rate.n,
        value=rate.value,
        interval=rate.interval,
        bound=bound,
        p_value=rate.p_good,
        worst=tuple(worst[:WORST]),
        reason=reason,
        details={**details, "method": rate.method, "certified": rate.certified},
    )


def _judge_paired(given: GateInput) -> Verdict:
    """beats_baseline and forgetting: the same paired comparison with another reference and another bound."""
    gain = given.gate.kind == "beats_baseline"
    references = [f"baseline:{rung.name}" for rung in given.evalset.baselines] if gain else ["base"]
    if lost := _unanswered(given, ["candidate", *references]):
        return lost
    delta0 = given.gate.bound if gain else -given.gate.bound
    candidate = [s.value for s in scores_of(given.evalset, given.answers["candidate"])]
    pairs = {name: [s.value for s in scores_of(given.evalset, given.answers[name])] for name in references}
    if not gain and fmean(pairs["base"]) <= given.gate.bound:
        # Where the base can do nothing, nothing can be lost: such a set would pass every candidate.
        summary = f"the base is right on {fmean(pairs['base']):.1%}: it cannot lose more than {given.gate.bound:.1%}"
        fix = "use general queries that the base answers well, or a smaller max_drop"
        return error_verdict(given.name, "forgetting", summary, fix, reason="NOTHING_TO_FORGET", n=len(candidate))
    comparisons = tuple(
        compare(candidate, values, given.clusters, name=name, delta0=delta0) for name, values in pairs.items()
    )
    # The best prompt is the one that is hardest to beat.
    hardest = max(comparisons, key=lambda c: (c.p_good, -c.delta))
    examples = given.evalset.examples
    lost_ids = [
        examples[i].id
        for i in sorted(range(len(candidate)), key=lambda i: (candidate[i] - pairs[hardest.reference][i], i))
        if candidate[i] < pairs[hardest.reference][i]
    ]
    outcome, reason, fix, summary = _paired_outcome(given, comparisons, hardest, gain=gain)
    return Verdict(
        gate=given.name,
        kind=given.gate.kind,
        outcome=outcome,
        summary=summary,
        fix=fix,
        n=hardest.n,
        value=hardest.delta,
        interval=hardest.interval,
        bound=delta0,
        p_value=hardest.p_good,
        worst=tuple(lost_ids[:WORST]),
        reason=reason,
        comparisons=comparisons,
        details={"method": hardest.method},
    )


def _paired_outcome(
    given: GateInput, comparisons: Sequence[Comparison], hardest: Comparison, *, gain: bool
) -> tuple[Outcome, str, str, str]:
    """(outcome, reason, fix, summary)"""
    bad = min(comparisons, key=lambda c: c.p_bad)
    if all(c.p_good <= given.levels.alpha for c in comparisons):
        return "PASS", "", "", _paired_sentence(hardest, gain=gain) + f", certified (p = {hardest.p_good:.2g})"
    if bad.p_bad <= given.levels.alpha_fail:
        if gain:
            proven = f"proven to gain less than {bad.delta0:.1%} (p = {bad.p_bad:.2g})"
            fix = f"ship the prompt of rung {bad.reference.partition(':')[2]} instead, or train for what it cannot do"
        else:
            proven = f"proven to lose more than {-bad.delta0:.1%} (p = {bad.p_bad:.2g})"
            fix = "mix general rows into the training data (replay), or lower the learning rate or the epochs"
        return "FAIL", "", fix, f"{_paired_sentence(bad, gain=gain)}, {proven}"
    shortfall: Shortfall = paired_shortfall(hardest, given.levels.alpha)
    sentence = f"{_paired_sentence(hardest, gain=gain)}, not certified (p = {hardest.p_good:.2g}): {shortfall.why}"
    return "INCONCLUSIVE", shortfall.reason, shortfall.fix, sentence


def _paired_sentence(c: Comparison, *, gain: bool) -> str:
    need = f"a gain above {c.delta0:.1%} needed" if gain else f"a loss below {-c.delta0:.1%} needed"
    low, high = c.interval
    return (
        f"{c.candidate:.1%} against {c.base:.1%} of {c.reference} on {c.n} pairs: {c.delta:+.1%} "
        f"(95% interval {low:+.1%} to {high:+.1%}; {c.gains} gained, {c.losses} lost); {need}"
    )
