"""The format gate: does an output obey? Strict decides and is about the whole output; lenient is shown beside it.

strict   the output as it is obeys every rule; an output cut at max_new_tokens never does
lenient  its reasoning block and code fence stripped, and of what is left the first JSON found, it obeys every rule
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.files import strictjson
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.saferegex import PatternError, compile_pattern
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import brief, describe, key, listed, shown
from pytest_ftgate.results import FormatCheck, Generation
from pytest_ftgate.scoring.json_answer import NotJson, first_json, strict_json, without_fence
from pytest_ftgate.scoring.json_schema import Schema

Rule = Callable[[str, bool], str | None]
"""(text, strict) -> what is violated, or None. Strict sees the whole output, lenient what is left of it."""

KEYS = ("json_schema", "regex", "choices", "max_length")
_PROBES = ("", "probe", "0", "\n", "{}", "\u00e4 -- [1]")


def make_format_check(options: Mapping[str, Json], *, base_dir: Path) -> Callable[[Generation], FormatCheck]:
    """The check for the options of a format gate; a schema file is looked for beside the eval set, in `base_dir`.

    Raises InputError with every problem; those of options name `base_dir`, for the caller to replace by the eval-set
    file and line. The check raises ScoringError where nothing was generated or a pattern ran out of time.
    """
    rules = _rules(options, base_dir)

    def check(generation: Generation) -> FormatCheck:
        if generation.finish_reason == "error":
            found = visible(generation.error, limit=200) or "no reason given"
            raise ScoringError(f"nothing was generated ({found})", "repair the generation; it is not judged")
        violated = _first(rules, generation.text, strict=True)
        lenient = _first(rules, without_fence(generation.text), strict=False) is None
        cut = "cut at max_new_tokens" if generation.finish_reason == "length" else None
        explanation = "; ".join(words for words in (cut, violated) if words)
        return FormatCheck(not explanation, lenient, explanation)

    return check


def _first(rules: tuple[Rule, ...], text: str, *, strict: bool) -> str | None:
    return next((words for rule in rules if (words := rule(text, strict))), None)


def _rules(options: Mapping[str, Json], base_dir: Path) -> tuple[Rule, ...]:
    makers: dict[str, Callable[[Json, Path], Rule]] = {
        "json_schema": _json_rule,
        "regex": _regex_rule,
        "choices": _choices_rule,
        "max_length": _length_rule,
    }
    rules, problems = [], list(_unknown(options, base_dir))
    for name in KEYS:
        if name in options:
            try:
                rules.append(makers[name](options[name], base_dir))
            except InputError as err:
                problems += err.problems
    if problems:
        raise InputError(problems)
    return tuple(rules)


def _unknown(options: Mapping[str, Json], base_dir: Path) -> Iterator[Problem]:
    for name in options.keys() - set(KEYS):
        yield _problem(base_dir, "", f"expected one of {listed(KEYS, last='or')}, found {key(name)}", "correct the key")
    if not options:
        yield _problem(base_dir, "", f"expected at least one of {listed(KEYS, last='or')}, found none", "add one")


def _problem(base_dir: Path, name: str, what: str, fix: str) -> Problem:
    return Problem(shown(base_dir), None, f"gates.format.{name}".rstrip("."), what, fix)


def _refused(base_dir: Path, name: str, what: str, fix: str) -> InputError:
    return InputError([_problem(base_dir, name, what, fix)])


def _json_rule(name: Json, base_dir: Path) -> Rule:
    if not isinstance(name, str) or not name:
        raise _refused(base_dir, "json_schema", f"expected a file name, found {describe(name)}", "name the schema file")
    path = base_dir / name
    schema = Schema(strictjson.read_json(path), path=shown(path))

    def rule(text: str, strict: bool) -> str | None:
        try:
            value = strict_json(text) if strict else first_json(text)
        except NotJson as err:
            return str(err)
        return schema.violation(value)

    return rule


def _regex_rule(source: Json, base_dir: Path) -> Rule:
    if not isinstance(source, str):
        raise _refused(base_dir, "regex", f"expected a pattern, found {describe(source)}", "quote the pattern")
    try:
        pattern = compile_pattern(source)
    except PatternError as err:
        raise _refused(base_dir, "regex", str(err), "correct the pattern") from None
    if all(pattern.fullmatch(probe) for probe in _PROBES):
        what = f"expected a pattern that refuses something, found {brief(source)}, which matches every probe"
        raise _refused(base_dir, "regex", what, "say what an answer looks like")

    def rule(text: str, strict: bool) -> str | None:
        return None if pattern.fullmatch(text) else "the regex does not match the whole output"

    return rule


def _choices_rule(choices: Json, base_dir: Path) -> Rule:
    if not isinstance(choices, list | tuple) or not choices or not all(isinstance(c, str) and c for c in choices):
        what = f"expected a list of texts, none empty, found {describe(choices)}"
        raise _refused(base_dir, "choices", what, "list the answers that are allowed; quote yes, no, on, off")
    allowed = frozenset(choices)

    def rule(text: str, strict: bool) -> str | None:
        return None if text in allowed else f"the whole output is not one of the {len(allowed)} choices"

    return rule


def _length_rule(longest: Json, base_dir: Path) -> Rule:
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        what = f"expected a number of characters of at least 1, found {describe(longest)}"
        raise _refused(base_dir, "max_length", what, "write a whole number")

    def rule(text: str, strict: bool) -> str | None:
        return None if len(text) <= longest else f"{len(text)} characters, at most {longest} allowed"

    return rule
