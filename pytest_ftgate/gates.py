"""Generations -> Scores -> one Verdict per gate. Pure: no pytest, no model, no files beyond what scorers name.

Every gate has a bad null and passes only where that null is rejected (intersection-union over gates and rungs: a model
with any one thing wrong ships with probability at most alpha). What was not answered is never scored: it is an ERROR.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalsets.types import EvalSet, GateSpec
from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.formats import make_format_check
from pytest_ftgate.measure import BETTING, Levels, Rate, compare, measure_rate, unit_means
from pytest_ftgate.partial import Part
from pytest_ftgate.planning import exact_percent, exact_points, paired_shortfall, rate_shortfall
from pytest_ftgate.prompting import question_text
from pytest_ftgate.report.sanitise import visible
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
    part: Part | None = None
    """Where the candidate was not asked everything, by plan: `evalset` then holds the examples answered."""

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
        if any(example.cluster is not None for example in self.evalset.examples):
            return "clusters"
        return "examples" if self.clusters[0] is None else "distinct questions"

    def counted(self, n: int) -> str:
        """`60 examples`; `12 clusters (60 examples)`"""
        total = len(self.evalset.examples)
        if self.part:
            return f"the {n} examples answered"
        return f"{n} {self.unit}" if self.unit == "examples" else f"{n} {self.unit} ({total} examples)"

    def p(self, value: float) -> str:
        """`(p = 0.012)`"""
        return f"(p = {value:.2g}{self.part.reach if self.part else ''})"


def judge(given: GateInput) -> Verdict:
    """The Verdict of one format, accuracy, beats_baseline or forgetting gate.

    Raises ScoringError where a scorer or format check breaks; the caller makes that an ERROR.
    """
    if lost := _too_few(given):
        return lost
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


def _too_few(given: GateInput) -> Verdict | None:
    """ERROR where the examples are copies of too few: the mean of few clusters says nothing about others."""
    n = len(set(given.clusters))
    if given.unit == "examples" or n >= stats.MIN_CLUSTERS:
        return None
    total = len(given.evalset.examples)
    summary = f"{total} examples are only {n} {given.unit}; at least {stats.MIN_CLUSTERS} needed to judge"
    fix = f"add examples from other {given.unit}" if given.unit == "clusters" else "add examples that ask other things"
    return error_verdict(given.name, given.gate.kind, summary, fix, reason="TOO_FEW", n=n)


def _unanswered(given: GateInput, systems: Sequence[str]) -> Verdict | None:
    """ERROR where a planned example has no answer: dropped examples are how a bad model looks good."""
    for system in systems:
        got = given.answers.get(system, {})
        ids = [e.id for e in given.evalset.examples]
        lost = [i for i in ids if i not in got]
        if lost:
            summary = f"{len(lost)} of {len(ids)} examples were never answered by {system} ({_some(lost)})"
            return error_verdict(given.name, given.gate.kind, summary, "run again", reason="MISSING", n=len(ids))
        failed = [i for i in ids if got[i].finish_reason == "error"]
        if failed:
            summary = (
                f"{len(failed)} of {len(ids)} examples could not be answered by {system} "
                f"({_some(failed)}): {visible(got[failed[0]].error, limit=200) or 'no reason given'}"
            )
            fix = "shorten the prompt or its shots, or lower generation.max_new_tokens"
            return error_verdict(given.name, given.gate.kind, summary, fix, reason="GENERATION", n=len(ids))
    return None


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _judge_format(given: GateInput) -> Verdict:
    if lost := _unanswered(given, ["candidate"]):
        return lost
    check = make_format_check(given.gate.options, base_dir=given.base_dir)
    examples = given.evalset.examples
    answers = [given.answers["candidate"][e.id] for e in examples]
    checks = [check(answer) for answer in answers]
    values = [float(c.strict) for c in checks]
    rate = measure_rate(values, given.clusters, given.gate.bound, given.levels)
    broken = [(e.id, c) for e, c in zip(examples, checks, strict=True) if not c.strict]
    lenient = sum(c.lenient for c in checks)
    violations = Counter(c.explanation for _, c in broken).most_common(5)
    details: dict[str, object] = {
        "strict": len(checks) - len(broken),
        "lenient": lenient,
        "cut_off": sum(a.finish_reason == "length" for a in answers),
        "violations": dict(violations),
    }
    note = f"; {lenient} examples obey where JSON is searched for in the text" if lenient > sum(values) else ""
    fix = "train on answers that obey the format"
    if violations:
        fix += f"; most often ({violations[0][1]} of {len(broken)}): {violations[0][0]}"
    said = "{v} of {counted} obey the format" if rate.method != BETTING else "on average {v} obey the format, {counted}"
    return _rate_verdict(given, rate, values, said, [i for i, _ in broken], details, note=note, fix=fix)


def _judge_accuracy(given: GateInput) -> Verdict:
    if lost := _unanswered(given, ["candidate"]):
        return lost
    examples = given.evalset.examples
    scores = scores_of(given.evalset, given.answers["candidate"])
    values = [s.value for s in scores]
    rate = measure_rate(values, given.clusters, given.gate.bound, given.levels)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    worst = [examples[i].id for i in order if values[i] < 1.0]
    fix = "read the worst answers, then train on other rows of that kind, or correct their references"
    said = "{v} of {counted} are right" if rate.method != BETTING else "a mean score of {v} on {counted}"
    cut = sum(given.answers["candidate"][e.id].finish_reason == "length" for e in examples)
    note = f"; {cut} answers were cut off at max_new_tokens" if cut else ""
    details = {**_accuracy_details(given, scores), "cut_off": cut}
    return _rate_verdict(given, rate, values, said, worst, details, note=note, fix=fix)


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
    values: Sequence[float],
    said: str,
    worst: Sequence[str],
    details: Mapping[str, object],
    *,
    note: str = "",
    fix: str = "",
) -> Verdict:
    bound, part = given.gate.bound, given.part
    if part:
        rate = part.bounded_rate(rate, bound, given.levels)
    low, high = rate.interval
    summary = said.format(v=f"{rate.value:.1%}", counted=given.counted(rate.n))
    summary += f" (95% interval {low:.1%} to {high:.1%}{note}); at least {exact_percent(bound)} needed"
    outcome: Outcome
    reason = ""
    if rate.p_good <= given.levels.alpha:
        outcome, fix = "PASS", ""
        certified = max(math.floor(1000 * rate.certified) / 1000, bound)
        summary += f", {exact_percent(certified)} certified {given.p(rate.p_good)}"
    elif rate.p_bad <= given.levels.alpha_fail:
        outcome = "FAIL"
        summary += f", proven to be below {given.p(rate.p_bad)}"
    else:
        outcome = "INCONCLUSIVE"
        units = unit_means(values, given.clusters)
        planned = part.planned_rate(rate) if part else rate
        shortfall = rate_shortfall(planned, units, bound, given.levels.alpha, unit=given.unit)
        reason, fix = shortfall.reason, shortfall.fix
        summary += f", not certified {given.p(rate.p_good)}: {shortfall.why}"
    if part:
        summary, details = f"{summary}; {part.sentence}", {**details, **part.details}
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
        details={**details, "method": rate.method, "certified": rate.certified, "p_bad": rate.p_bad},
    )


def references_of(given: GateInput) -> list[str]:
    """Names of the Systems that a paired gate compares the candidate with."""
    if given.gate.kind == "beats_baseline":
        return [f"baseline:{rung.name}" for rung in given.evalset.baselines]
    return ["base"]


def _judge_paired(given: GateInput) -> Verdict:
    """beats_baseline and forgetting: the same paired comparison with another reference and another bound."""
    gain = given.gate.kind == "beats_baseline"
    references = [f"baseline:{rung.name}" for rung in given.evalset.baselines] if gain else ["base"]
    if not references:
        raise ScoringError("the eval set has no baselines to beat", fix="add `baselines:` to the eval-set file")
    if lost := _unanswered(given, ["candidate", *references]):
        return lost
    delta0 = given.gate.bound if gain else -given.gate.bound
    scores = {
        name: [s.value for s in scores_of(given.evalset, given.answers[name])] for name in ("candidate", *references)
    }
    comparisons = tuple(
        compare(scores["candidate"], scores[name], given.clusters, name=name, delta0=delta0) for name in references
    )
    if given.part:
        comparisons = tuple(given.part.bounded(c) for c in comparisons)
    elif not gain and comparisons[0].base <= given.gate.bound:
        # Where the base can do nothing, nothing can be lost: such a set would pass every candidate.
        summary = f"the base scores {comparisons[0].base:.1%}: it cannot lose more than {exact_points(-delta0)}"
        fix = "use general queries that the base answers well, or a smaller max_drop"
        return error_verdict(given.name, "forgetting", summary, fix, reason="NOTHING_TO_FORGET", n=comparisons[0].n)
    return _paired_verdict(given, scores, comparisons)


def _paired_verdict(
    given: GateInput, scores: Mapping[str, Sequence[float]], comparisons: tuple[Comparison, ...]
) -> Verdict:
    levels, gain = given.levels, given.gate.kind == "beats_baseline"
    # The best prompt is the one that is hardest to beat.
    hardest = max(comparisons, key=lambda c: (c.p_good, -c.delta))
    bad = min(comparisons, key=lambda c: (c.p_bad, c.delta))
    outcome: Outcome = "INCONCLUSIVE"
    decisive, reason, fix = hardest, "", ""
    if all(c.p_good <= levels.alpha for c in comparisons):
        outcome, end = "PASS", f"certified {given.p(hardest.p_good)}"
    elif bad.p_bad <= levels.alpha_fail:
        outcome, decisive = "FAIL", bad
        end, fix = _proven(bad, given.p(bad.p_bad), gain=gain)
    else:
        ours, theirs = (unit_means(scores[name], given.clusters) for name in ("candidate", hardest.reference))
        planned = hardest
        if given.part:
            planned = given.part.planned_pair(hardest)
            theirs = [planned.base] * planned.n
        shortfall = paired_shortfall(planned, ours, theirs, levels.alpha, unit=given.unit)
        reason, fix = shortfall.reason, shortfall.fix
        end = f"not certified {given.p(hardest.p_good)}: {shortfall.why}"
    details: dict[str, object] = {"method": decisive.method, "reference": decisive.reference, "p_bad": decisive.p_bad}
    if given.part:
        end, details = f"{end}; {given.part.sentence}", {**details, **given.part.details}
    return Verdict(
        gate=given.name,
        kind=given.gate.kind,
        outcome=outcome,
        summary=f"{_paired_sentence(given, decisive)}, {end}",
        fix=fix,
        n=decisive.n,
        value=decisive.delta,
        interval=decisive.interval,
        bound=decisive.delta0,
        p_value=decisive.p_good,
        worst=_most_lost(given, scores["candidate"], scores[decisive.reference]),
        reason=reason,
        comparisons=comparisons,
        details=details,
    )


def _proven(bad: Comparison, p: str, *, gain: bool) -> tuple[str, str]:
    """(what a FAIL has proven, what to do about it)"""
    bound = exact_points(abs(bad.delta0))
    if gain:
        rung = bad.reference.partition(":")[2]
        return f"proven to gain less {p}", f"ship the prompt of rung {rung} instead, or train for what it cannot do"
    fix = "mix general rows into the training data (replay), or lower the learning rate or the epochs"
    return f"proven to lose more than {bound} {p}", fix


def _most_lost(given: GateInput, candidate: Sequence[float], reference: Sequence[float]) -> tuple[str, ...]:
    """Ids of the examples that lost most, most first."""
    drops = [r - c for c, r in zip(candidate, reference, strict=True)]
    order = sorted(range(len(drops)), key=lambda i: (-drops[i], i))
    return tuple(given.evalset.examples[i].id for i in order if drops[i] > 0)[:WORST]


def _paired_sentence(given: GateInput, c: Comparison) -> str:
    bound = exact_points(abs(c.delta0))
    need = f"a gain above {bound} needed" if given.gate.kind == "beats_baseline" else f"a loss below {bound} needed"
    low, high = (100 * end for end in c.interval)
    return (
        f"{c.candidate:.1%} against {c.base:.1%} of {c.reference} on {given.counted(c.n)}: {100 * c.delta:+.1f} points "
        f"(95% interval {low:+.1f} to {high:+.1f}; {c.gains} gained, {c.losses} lost); {need}"
    )
