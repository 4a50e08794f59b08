"""Slices of an eval set: the examples that share one value of a field, and the bounds that such a slice must keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.reading import Reading, RowProblems
from pytest_ftgate.evalset.types import Example, SliceSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief, describe, key, listed, nearest

MAX_VALUES = 50
"""A field with more values than this is no slicing: hardly any example would be left in each."""
MAX_LENGTH = 100


def slice_value(value: Json) -> str:
    """How the value of a slicing field is written: `de`, `3`, `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def written_slices(data: Mapping[str, Json]) -> list[dict[str, Json]]:
    """The `slices:` of an eval-set file, each as a mapping; a field alone is a slice without bounds."""
    return [{"field": one} if isinstance(one, str) else dict(one) for one in data.get("slices", ())]


def check_slices(reading: Reading) -> None:
    """What the YAML alone contradicts: a field named twice, a bound for a gate that is not there."""
    gates, seen = reading.document.data["gates"], set()
    for index, one in enumerate(written_slices(reading.document.data)):
        name = one["field"]
        if name in seen:
            reading.report(
                ("slices", index), f"expected each field once, found {key(name)} again", "delete one of them"
            )
        seen.add(name)
        for kind in one:
            if kind != "field" and kind not in gates:
                what = (
                    f"expected a gate of this file ({listed([key(k) for k in gates])}), found a bound for {key(kind)}"
                )
                reading.report(("slices", index, kind), what, f"add `{kind}:` to gates, or delete this bound")


def read_slices(reading: Reading, examples: Sequence[Example]) -> tuple[SliceSpec, ...]:
    """The slices with the values that the rows hold; problems go to `reading`."""
    found = []
    for index, one in enumerate(written_slices(reading.document.data)):
        name = one.pop("field")
        own = {kind: float(written[KINDS[kind].bound_key(written)]) for kind, written in one.items()}
        values = _values(reading, index, name, examples)
        found.append(SliceSpec(name, values, own, reading.document.line(("slices", index))))
    return tuple(found)


def _values(reading: Reading, index: int, name: str, examples: Sequence[Example]) -> tuple[str, ...]:
    """Every value of the field, sorted; () where there is a problem."""
    known = sorted({field for example in examples for field in example.fields})
    if examples and name not in known:
        close = nearest(name, known)
        what = f"expected a field of the rows ({listed([key(k) for k in known])}), found {key(name)}"
        fix = f"did you mean {key(close)}?" if close else "name a field that the rows have"
        reading.report(("slices", index), what, fix)
        return ()
    notes = RowProblems()
    kinds: dict[str, set[type]] = {}
    for example in examples:
        value = example.fields.get(name)
        if wrong := _wrong(value):
            notes.add(example.path, example.line, name, *wrong)
        else:
            kinds.setdefault(slice_value(value), set()).add(type(value))
    reading.problems.extend(notes.told())
    mixed = [value for value, types in kinds.items() if len(types) > 1]
    if mixed:
        what = f"expected one kind of value in {key(name)}, found {brief(mixed[0])} as text and as something else"
        reading.report(("slices", index), what, "write it the same way in every row")
    if len(kinds) > MAX_VALUES:
        what = f"expected at most {MAX_VALUES} values of {key(name)} in the rows, found {len(kinds)}"
        reading.report(("slices", index), what, "slice by a field with few values: each needs many examples")
    return () if notes.groups else tuple(sorted(kinds))


def _wrong(value: Json) -> tuple[str, str] | None:
    """(what, fix) where this cannot be the value of a slicing field."""
    if value is None or value == "":
        return "expected a value to slice by, found none", "fill it in; `none` is a value too"
    if not isinstance(value, str | bool | int):
        return f"expected a text, a whole number, true or false to slice by, found {describe(value)}", "quote this"
    if isinstance(value, str) and (value != value.strip() or not value.isprintable() or len(value) > MAX_LENGTH):
        what = f"expected a short text of printable characters to slice by, found {describe(value)}"
        return what, f"use at most {MAX_LENGTH} characters, without blanks at the ends"
    return None
