"""Scorers: (Example, Generation) -> Score. Pure and deterministic; nothing obtained is an error and never a zero.

All of them read the answer without its reasoning block (`<think>...</think>`) and without whitespace around it, and
compare Unicode text as NFC. Format is judged elsewhere: json_fields reads an object inside a code fence as well as a
bare one, so that a prompted baseline does not lose points that a fine-tune wins by format alone.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.scorer_options import SCORERS, is_graded, scorer_kind
from pytest_ftgate.evalset.types import Example, ScorerSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.saferegex import PatternError, SafePattern, compile_pattern
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import brief, describe, listed, shown
from pytest_ftgate.results import Generation, Score
from pytest_ftgate.scoring import references as targets
from pytest_ftgate.scoring.classification import classification_table
from pytest_ftgate.scoring.json_answer import NotJson, compact, first_json, same_json, strict_json, without_reasoning
from pytest_ftgate.scoring.numbers import read_number, within
from pytest_ftgate.scoring.own_function import function_scorer

__all__ = ["Scorer", "classification_table", "make_scorer", "needed_labels"]

Scorer = Callable[[Example, Generation], Score]
Options = Mapping[str, Json]


def make_scorer(spec: ScorerSpec, *, base_dir: Path) -> Scorer:
    """The scorer that `spec` names; `base_dir` is the eval set's folder (for `function`).

    Raises InputError for options that cannot work; its problems name `base_dir`, for the caller to replace by the
    eval-set file and line. The scorer raises ScoringError where nothing was generated, where the reference cannot be
    used, where a pattern runs out of time and where a function of the user fails.
    """
    inner = _inner(spec, base_dir)
    graded = is_graded(spec)

    def score(example: Example, generation: Generation) -> Score:
        if generation.finish_reason == "error":
            found = visible(generation.error, limit=200) or "no reason given"
            fix = "repair the generation; an answer that was not obtained is not scored"
            raise ScoringError(f"example {brief(example.id)}: nothing was generated ({found})", fix)
        scored = inner(example, generation)
        if not graded and scored.value not in (0.0, 1.0):
            # Exact tests and early stops rest on it.
            what = f"the scorer {spec.kind} is said to give 0 or 1, and gave {scored.value!r}"
            raise ScoringError(f"example {brief(example.id)}: {what}", "correct `graded` in its row of SCORERS")
        if generation.finish_reason == "length":
            scored = replace(scored, explanation=f"{scored.explanation}; the answer was cut at max_new_tokens")
        return scored

    return score


def needed_labels(spec: ScorerSpec) -> tuple[str, ...]:
    """Labels whose log-likelihood the engine must compute for this scorer; () for all but choice by loglikelihood."""
    return scorer_kind(spec).labels(spec.options)


def _inner(spec: ScorerSpec, base_dir: Path) -> Scorer:
    build = BUILDERS.get(spec.kind)
    if build is None:
        what = f"expected one of {listed(list(BUILDERS), last='or')}, found {brief(spec.kind)}"
        raise _refused(base_dir, "", what, "choose one")
    return build(spec.options, base_dir)


def _refused(base_dir: Path, key: str, what: str, fix: str) -> InputError:
    return InputError([Problem(shown(base_dir), None, f"scorer.{key}".rstrip("."), what, fix)])


def _answer(generation: Generation) -> str:
    return unicodedata.normalize("NFC", without_reasoning(generation.text))


def _right_or_wrong(hit: bool, answer: str | None, right: str, wrong: str) -> Score:
    return Score(float(hit), answer, right if hit else wrong)


# Sentence marks, quotes, brackets, dashes and Markdown emphasis; not `#`, `%`, `+`, `/`, which tell C# from C.
# What stands between two digits stays, and so does a minus: 3.5 is not 35, -5 is not 5.
_MARKS = r"!?;.,:\u2026\"'`\u2018-\u201f\u00ab\u00bb()\[\]{}*_"
_DASHES = r"[-\u2010-\u2015\u2212]"
_PUNCTUATION = re.compile(
    rf"(?<![0-9{_MARKS}])[{_MARKS}]++|[{_MARKS}]++(?![0-9])|{_DASHES}(?![0-9])|(?<=[^\W\d]){_DASHES}"
)


def _exact(options: Options, base_dir: Path) -> Scorer:
    ignore_case, ignore_punctuation = bool(options.get("ignore_case")), bool(options.get("ignore_punctuation"))

    def normal(text: str) -> str:
        if ignore_punctuation:
            text = " ".join(_PUNCTUATION.sub("", text).split())
        return text.casefold() if ignore_case else text

    def score(example: Example, generation: Generation) -> Score:
        text = _answer(generation)
        if example.target is not None and not targets.is_text(example.target):
            return _exact_json(example.target, text)
        wanted = {normal(target) for target in targets.accepted(example)}
        if "" in wanted:
            raise targets.unusable(example, "more than punctuation", "leave ignore_punctuation out")
        return _right_or_wrong(normal(text) in wanted, text, "equals the reference", "differs from the reference")

    return score


def _exact_json(target: Json, text: str) -> Score:
    try:
        value = strict_json(text)
    except NotJson as err:
        return Score(0.0, None, str(err))
    return _right_or_wrong(same_json(value, target), compact(value), "equals the reference", "differs as JSON")


# Scripts that put no space between words: there, a neighbouring letter does not make another word.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_BEFORE_WORD = r"(?<!\w)(?<!\w[-\u2010\u2011'\u2019])"
_AFTER_WORD = r"(?!\w)(?![-\u2010\u2011'\u2019](?!s\b)\w)"
_BEFORE_NUMBER = r"(?<!\d[.,])(?<!(?:^|[^\w)])[-+\u2212])"
_AFTER_NUMBER = r"(?![.,]\d|%)"


def _whole_words(text: str, *, ignore_case: bool) -> SafePattern:
    first, last = text[0], text[-1]
    before = (_BEFORE_WORD if first.isalnum() or first in "-+\u2212." else "") + _BEFORE_NUMBER * first.isdigit()
    after = (_AFTER_WORD if last.isalnum() else "") + _AFTER_NUMBER * last.isdigit()
    literal = r"\s+".join(re.escape(word) for word in text.split())
    case = "(?i)" if ignore_case else ""
    return compile_pattern(f"{case}(?:{before}|(?={_UNSPACED})){literal}(?:{after}|(?<={_UNSPACED}))")


def _includes(options: Options, base_dir: Path) -> Scorer:
    ignore_case = bool(options.get("ignore_case"))

    def score(example: Example, generation: Generation) -> Score:
        text = _answer(generation)
        for target in targets.accepted(example):
            try:
                pattern = _whole_words(target, ignore_case=ignore_case)
            except PatternError:
                raise targets.unusable(example, "a short text", "scorer includes looks for a few words") from None
            if pattern.search(text):
                return Score(1.0, target, "holds the reference as whole words")
        return Score(0.0, None, "does not hold the reference as whole words")

    return score


def _label_key(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip().rstrip(".,;:!?\u2026").rstrip().casefold()


def _choice(options: Options, base_dir: Path) -> Scorer:
    labels = options.get("labels")
    if not isinstance(labels, list | tuple) or len(labels) < 2 or not all(isinstance(x, str) for x in labels):
        raise _refused(base_dir, "choice.labels", f"expected two labels or more, found {describe(labels)}", "list them")
    by_key = {_label_key(label): label for label in labels}
    if len(by_key) < len(labels) or "" in by_key:
        what = "expected labels that differ in more than case and final punctuation, found two that do not"
        raise _refused(base_dir, "choice.labels", what, "rename one")
    if options.get("by") == "loglikelihood":
        return _choice_by_loglikelihood(tuple(labels))

    def score(example: Example, generation: Generation) -> Score:
        wanted = targets.label(example, labels)
        chosen = by_key.get(_label_key(without_reasoning(generation.text)))
        if chosen is None:
            return Score(0.0, None, "the whole answer is not one of the labels")
        return _right_or_wrong(chosen == wanted, chosen, "the right label", "another label")

    return score


def _choice_by_loglikelihood(labels: Sequence[str]) -> Scorer:
    def score(example: Example, generation: Generation) -> Score:
        wanted = targets.label(example, labels)
        scores = generation.label_logprobs or {}
        values = [scores.get(label, math.nan) for label in labels]
        if any(math.isnan(value) or value == math.inf for value in values):
            fix = "the engine must give a log-probability for each label"
            raise ScoringError(f"example {brief(example.id)}: a label has no log-probability", fix)
        best = [label for label, value in zip(labels, values, strict=True) if value == max(values)]
        if len(best) > 1:
            return Score(0.0, None, f"{len(best)} labels tie for the highest log-probability")
        return _right_or_wrong(best[0] == wanted, best[0], "the most likely label", "another label is more likely")

    return score


def _regex(options: Options, base_dir: Path) -> Scorer:
    source, how = options.get("pattern"), options.get("match", "full")
    if not isinstance(source, str) or how not in ("full", "search"):
        what = f"expected a pattern and match full or search, found {describe(source)} and {brief(how)}"
        raise _refused(base_dir, "regex", what, 'write {regex: {pattern: "...", match: full}}')
    try:
        pattern = compile_pattern(source)
    except PatternError as err:
        raise _refused(base_dir, "regex.pattern", str(err), "correct the pattern") from None

    def score(example: Example, generation: Generation) -> Score:
        text = _answer(generation)
        found = pattern.search(text) if how == "search" else pattern.fullmatch(text)
        if found is None:
            return Score(0.0, None, "the pattern does not match")
        if not pattern.named_answer:
            return Score(1.0, found.text, "the pattern matches")
        answer = None if found.answer is None else found.answer.strip()
        right = answer in targets.accepted(example)
        return _right_or_wrong(right, answer, "group `answer` equals the reference", "group `answer` differs")

    return score


def _numeric(options: Options, base_dir: Path) -> Scorer:
    tolerance = options.get("tolerance", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        what = f"expected a finite number of at least 0, found {describe(tolerance)}"
        raise _refused(base_dir, "numeric.tolerance", what, "write the largest difference that is still right")

    def score(example: Example, generation: Generation) -> Score:
        wanted = targets.number(example)
        found = read_number(_answer(generation))
        if found is None:
            return Score(0.0, None, "no number, or the last one is not plainly one finite number")
        answer = f"{found.value}{'%' if found.percent else ''}"
        right = within(found, wanted, tolerance)
        return _right_or_wrong(right, answer, "within the tolerance", "beyond the tolerance")

    return score


def _json_fields(options: Options, base_dir: Path) -> Scorer:
    names, how = options.get("fields"), options.get("score", "all")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        what = f"expected the names of one field or more, found {describe(names)}"
        raise _refused(base_dir, "json_fields.fields", what, "list them")
    if how not in ("all", "mean"):
        raise _refused(base_dir, "json_fields.score", f"expected all or mean, found {brief(how)}", "choose one")

    def score(example: Example, generation: Generation) -> Score:
        wanted = targets.fields(example, names)
        try:
            found = first_json(generation.text, only_object=True)
        except NotJson as err:
            return Score(0.0, None, str(err), dict.fromkeys(names, 0.0))
        parts = {name: float(name in found and same_json(found[name], wanted[name])) for name in names}
        value = float(all(parts.values())) if how == "all" else math.fsum(parts.values()) / len(parts)
        answer = compact({name: found[name] for name in names if name in found})
        return Score(value, answer, _field_words(wanted, found), parts)

    return score


def _field_words(wanted: Mapping[str, Json], found: Mapping[str, Json]) -> str:
    missing = [brief(name) for name in wanted if name not in found]
    wrong = [brief(name) for name in wanted if name in found and not same_json(found[name], wanted[name])]
    words = [f"missing {listed(missing)}"] * bool(missing) + [f"wrong {listed(wrong)}"] * bool(wrong)
    return "; ".join(words) or "all fields equal the reference"


def _similarity(options: Options, base_dir: Path) -> Scorer:
    if options.get("metric", "chrf") != "chrf":
        what = f"expected chrf, found {brief(options['metric'])}"
        raise _refused(base_dir, "similarity.metric", what, "leave it out, or write chrf")
    from sacrebleu.metrics import CHRF

    # chrF2, Popovic 2015: character n-grams up to 6, beta 2. sacrebleu gives it in percent.
    metric = CHRF()

    def score(example: Example, generation: Generation) -> Score:
        wanted, text = list(targets.accepted(example)), _answer(generation)
        value = min(1.0, max(0.0, metric.sentence_score(text, wanted).score / 100)) if text else 0.0
        return Score(value, text, "chrF to the nearest reference")

    return score


def _function(options: Options, base_dir: Path) -> Scorer:
    return function_scorer(str(options.get("path", "")), base_dir=base_dir)


BUILDERS: Mapping[str, Callable[[Options, Path], Scorer]] = {
    "exact": _exact,
    "includes": _includes,
    "choice": _choice,
    "regex": _regex,
    "numeric": _numeric,
    "json_fields": _json_fields,
    "similarity": _similarity,
    "function": _function,
}
"""How each scorer of `evalset.scorer_options.SCORERS` is made from its options."""
if BUILDERS.keys() != SCORERS.keys():
    raise TypeError(f"scorers without a row or without a builder: {sorted(BUILDERS.keys() ^ SCORERS.keys())}")
