"""Gates on one rate: format and accuracy of the candidate against a floor. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_ftgate.gates.examples_needed import Shortfall, exact_percent, rate_shortfall
from pytest_ftgate.gates.given import WORST, GateInput, decide, said_approximate, unanswered
from pytest_ftgate.gates.measure import APPROXIMATE, BETTING, Rate, measure_rate, unit_means
from pytest_ftgate.gates.slices import Measure, Measured, with_slices
from pytest_ftgate.results import Score, Verdict
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.scorers import classification_table

GRADED = (BETTING, APPROXIMATE)
"""Methods for scores that are not 0 or 1."""


def judge_format(given: GateInput) -> Verdict:
    if lost := unanswered(given, ["candidate"]):
        return lost
    check = make_format_check(given.gate.options, base_dir=given.base_dir)
    examples = given.evalset.examples
    answers = [given.answers["candidate"][e.id] for e in examples]
    checks = [check(answer) for answer in answers]
    values = [float(c.strict) for c in checks]
    rate = _measure(given, values)
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
    said = (
        "{v} of {counted} obey the format" if rate.method not in GRADED else "on average {v} obey the format, {counted}"
    )
    return _rate_verdict(given, rate, values, said, [i for i, _ in broken], details, note=note, fix=fix)


def judge_accuracy(given: GateInput) -> Verdict:
    if lost := unanswered(given, ["candidate"]):
        return lost
    examples = given.evalset.examples
    scores = given.scores_of("candidate")
    values = [s.value for s in scores]
    rate = _measure(given, values)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    worst = [examples[i].id for i in order if values[i] < 1.0]
    fix = "read the worst answers, then train on other rows of that kind, or correct their references"
    said = "{v} of {counted} are right" if rate.method not in GRADED else "a mean score of {v} on {counted}"
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
    summary += f" (95% interval {low:.1%} to {high:.1%}{said_approximate(rate.method)}{note})"
    summary += f"; at least {exact_percent(bound)} needed"
    outcome, reason = decide(rate.p_good, rate.p_bad, given.levels), ""
    if outcome == "PASS":
        fix = ""
        certified = max(math.floor(1000 * rate.certified) / 1000, bound)
        summary += f", {exact_percent(certified)} certified {given.p(rate.p_good)}"
    elif outcome == "FAIL":
        summary += f", proven to be below {given.p(rate.p_bad)}"
    else:
        units = unit_means(values, given.clusters)
        planned = part.planned_rate(rate) if part else rate
        shortfall = rate_shortfall(planned, units, bound, given.levels.alpha, unit=given.unit)
        reason, fix = shortfall.reason, shortfall.fix
        summary += f", not certified {given.p_missed(rate.p_good)}: {shortfall.why}"
    if part:
        summary, details = f"{summary}; {part.sentence}", {**details, **part.details}
    verdict = Verdict(
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
    return with_slices(given, verdict, _slice_measure(given, values), [1.0 - value for value in values])


def _measure(given: GateInput, values: Sequence[float]) -> Rate:
    return measure_rate(values, given.clusters, given.gate.bound, given.levels, approximate=given.approximate)


def _slice_measure(given: GateInput, values: Sequence[float]) -> Measure:
    def measure(places: Sequence[int], clusters: Sequence[str | None], bound: float) -> list[Measured]:
        here = [values[i] for i in places]
        rate = measure_rate(here, clusters, bound, given.levels, approximate=given.approximate)
        unit = "examples" if all(c is None for c in clusters) else given.unit

        def shortfall() -> Shortfall:
            return rate_shortfall(rate, unit_means(here, clusters), bound, given.levels.alpha, unit=unit)

        return [Measured("", rate.n, rate.value, rate.interval, bound, rate.p_good, rate.p_bad, rate.method, shortfall)]

    return measure
