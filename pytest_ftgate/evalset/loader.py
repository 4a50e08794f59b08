"""Eval-set files: YAML + rows -> EvalSet. Every problem is found in one go, with its file, line, key and fix.

load_evalset(path)   everything, rows and schemas included: what a run uses
read_gates(path)     the YAML alone: what pytest collects
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_ftgate.evalset.examples import read_examples
from pytest_ftgate.evalset.format_schema import read_json_schema
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.loaded import Loaded
from pytest_ftgate.evalset.prompts import read_baselines, read_prompt
from pytest_ftgate.evalset.reading import Reading
from pytest_ftgate.evalset.scorer_options import check_scorer, is_graded, needs_target, scorer_spec
from pytest_ftgate.evalset.slices import check_slices, read_slices, written_slices
from pytest_ftgate.evalset.types import AttemptPolicy, EvalSet, GateSpec, GenerationSettings
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.patterns import pattern_problem
from pytest_ftgate.files.problems import EvalSetError, InputError, Problem
from pytest_ftgate.files.schema import schema_problems
from pytest_ftgate.files.strictyaml import Document, read_yaml
from pytest_ftgate.files.wording import brief, key, listed, shown

EVALSET_SUFFIX = ".eval.yaml"

LOADED = Loaded()
"""The eval sets of this process."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def evalset_schema() -> dict[str, Any]:
    """The JSON Schema of eval-set files, as shipped for editors."""
    text = files("pytest_ftgate.evalset").joinpath("evalset.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def read_gates(path: Path) -> tuple[GateSpec, ...]:
    """The gates of an eval-set file, in file order: the YAML is checked, the files that it names are not opened.

    Raises EvalSetError with every problem of the YAML.
    """
    return _gates(_read_document(path))


@dataclass(frozen=True, slots=True)
class EvalSetHeader:
    """What the YAML alone tells of an eval set."""

    name: str
    gates: tuple[GateSpec, ...]
    """In file order."""
    rungs: tuple[str, ...]
    """Names of the baselines."""
    sliced: tuple[str, ...] = ()
    """Kinds of gates of which slices have bounds of their own."""
    attempts: AttemptPolicy = field(default_factory=AttemptPolicy)


def read_header(path: Path) -> EvalSetHeader:
    """Name, gates and rungs: the YAML is checked as for `read_gates`, the files that it names are not opened."""
    document = _read_document(path)
    bounded = {kind for one in written_slices(document.data) for kind in one}
    return EvalSetHeader(
        name=_name(path, document.data),
        gates=_gates(document),
        rungs=tuple(document.data.get("baselines", ())),
        sliced=tuple(kind for kind in document.data["gates"] if kind in bounded),
        attempts=_attempts(document.data.get("attempts", {})),
    )


def load_evalset(path: Path) -> EvalSet:
    """Load one eval-set file and everything that it names, once a process as long as none of these files changes.

    Raises EvalSetError with every problem found; where the structure of the YAML is wrong, with those of the YAML.
    """
    return LOADED.get(path, _load)


def _load(path: Path) -> EvalSet:
    reading = Reading(_read_document(path), path.parent)
    data = reading.document.data
    scorer = scorer_spec(data.get("scorer"))
    examples = read_examples(reading, target_needed=needs_target(scorer) and data.get("target", "target") is not None)
    check_scorer(reading, scorer, examples)
    prompt = read_prompt(reading, examples)
    baselines = read_baselines(reading, prompt, examples)
    slices = read_slices(reading, examples)
    format_schema = _check_format(reading)
    _check_overlap(reading, len(examples))
    if reading.problems:
        raise EvalSetError(dict.fromkeys(reading.problems))
    generation = data["generation"]
    parts: dict[str, Any] = {
        "examples": examples,
        "prompt": prompt,
        "baselines": baselines,
        "scorer": scorer,
        "generation": GenerationSettings(int(generation["max_new_tokens"]), tuple(generation.get("stop", ()))),
        "gates": _gates(reading.document),
        "attempts": _attempts(data.get("attempts", {})),
        "early_stop": bool(data.get("early_stop", False)),
        "slices": slices,
        "rigor": data.get("rigor", "guaranteed"),
    }
    return EvalSet(name=_name(path, data), path=path, digest=_digest(parts, format_schema), **parts)


def _read_document(path: Path) -> Document:
    """The YAML, its structure and everything that can be judged from it alone. Raises EvalSetError."""
    try:
        document = read_yaml(path)
    except InputError as err:
        raise EvalSetError(err.problems) from None
    problems = schema_problems(document, evalset_schema()) or _contradictions(document, path)
    if problems:
        raise EvalSetError(problems)
    return document


def _contradictions(document: Document, path: Path) -> list[Problem]:
    """What is wrong between keys that are each right."""
    reading = Reading(document, path.parent)
    data, gates = document.data, document.data["gates"]
    scored = [row.name for row in KINDS.values() if row.scores and row.name in gates]
    if scored and "scorer" not in data:
        what = f"expected a scorer for {listed([f'`{kind}`' for kind in scored])}, found none"
        reading.report(("gates", scored[0]), what, "add `scorer: exact`, or another one")
    _check_rungs(reading)
    check_slices(reading)
    if data.get("early_stop"):
        _check_early_stop(reading, bool(scored))
    if not _NAME.fullmatch(_name(path, data)):
        what = f"expected a file name of letters, digits, _ and - up to its first dot, found {brief(path.name)}"
        reading.report((), what, "rename the file, or write `name: ...`")
    return reading.problems


def _check_rungs(reading: Reading) -> None:
    """What gates compare the candidate with must be written."""
    data = reading.document.data
    rungs = data.get("baselines", {})
    for kind, gate in data["gates"].items():
        references = KINDS[kind].references
        if references == "rungs" and not rungs:
            fix = 'add `baselines: {zero_shot: {system: "..."}}`'
            reading.report(("gates", kind), "expected baselines to beat, found none", fix)
        elif references == "named rung" and gate["of"] not in rungs:
            what = f"expected a rung of baselines ({listed([key(name) for name in rungs]) or 'none is written'})"
            reading.report(("gates", kind, "of"), f"{what}, found {key(gate['of'])}", "name a rung, or add this one")


def _check_early_stop(reading: Reading, scored: bool) -> None:
    """Its error rate is guaranteed for 0/1 scores of independent examples alone."""
    data = reading.document.data
    if "cluster" in data:
        what = "expected independent examples, found `cluster`"
        reading.report(("early_stop",), what, "leave `early_stop` out")
    if scored and is_graded(scorer_spec(data.get("scorer"))):
        what = "expected a scorer whose scores are 0 or 1, found one that can score between them"
        reading.report(("early_stop",), what, "leave `early_stop` out, or use another scorer")


def _name(path: Path, data: Mapping[str, Json]) -> str:
    name: str = data.get("name", path.name.split(".", 1)[0])
    return name


def _gates(document: Document) -> tuple[GateSpec, ...]:
    return tuple(_gate(document, kind, written) for kind, written in document.data["gates"].items())


def _gate(document: Document, kind: str, written: Mapping[str, Json]) -> GateSpec:
    row = KINDS[kind]
    bound = row.bound_key(written)
    options = {**row.defaults, **written}
    limit = float(options.pop(bound))
    options |= {other.key: other.key == bound for other in row.bounds[1:]}
    return GateSpec(kind, limit, options, document.line(("gates", kind)))


def _attempts(written: Mapping[str, Json]) -> AttemptPolicy:
    spend, _, budget = written.get("spend", "none").partition(":")
    return AttemptPolicy(spend, int(budget) if budget else None, written.get("feedback", "full"))


def _check_format(reading: Reading) -> Json:
    """The JSON Schema of the format gate, or None; problems of it and of the regex go to `reading`."""
    gate = reading.document.data["gates"].get("format", {})
    if "regex" in gate and (wrong := pattern_problem(gate["regex"])):
        reading.report(("gates", "format", "regex"), wrong, "correct the pattern")
    if "json_schema" not in gate:
        return None
    try:
        return read_json_schema(reading.directory / gate["json_schema"])
    except InputError as err:
        reading.problems.extend(err.problems)
    return None


def _check_overlap(reading: Reading, n_examples: int) -> None:
    gate = reading.document.data["gates"].get("overlap", {})
    if 0 < n_examples <= gate.get("max", 0):
        what = f"expected fewer than the {n_examples} examples, found {gate['max']}, which can never fail"
        reading.report(("gates", "overlap", "max"), what, "write 0")
    train = gate.get("train", [])
    for index, name in enumerate(train):
        if not (reading.directory / name).exists():
            what = f"expected a training file, found none at {brief(shown(reading.directory / name))}"
            reading.report(("gates", "overlap", "train", index), what, "correct the path")


def _digest(parts: Mapping[str, Any], format_schema: Json) -> str:
    """sha256 over the content as canonical JSON; where files lie and on which lines things stand is left out."""
    content: dict[str, Any] = {
        "prompt": asdict(parts["prompt"]),
        "scorer": asdict(parts["scorer"]) if parts["scorer"] else None,
        "generation": asdict(parts["generation"]),
        "gates": [[gate.kind, gate.bound, _without_files(gate.options)] for gate in parts["gates"]],
        "format_schema": format_schema,
        # Only where it is used, so that digests of all other eval sets stay what they were.
        **({"early_stop": True} if parts["early_stop"] else {}),
        "examples": [_content(example) for example in parts["examples"]],
        "baselines": [
            {
                "name": rung.name,
                "prompt": asdict(rung.prompt),
                "shots": [[_content(e) for e in rung.shots.examples], rung.shots.n, rung.shots.select]
                if rung.shots
                else None,
                "passages": [rung.passages.texts, rung.passages.n] if rung.passages else None,
            }
            for rung in parts["baselines"]
        ],
    }
    # Only where they are written: a set without them keeps its digest.
    if parts["slices"]:
        content["slices"] = [[one.field, dict(one.bounds)] for one in parts["slices"]]
    if parts["rigor"] != "guaranteed":
        content["rigor"] = parts["rigor"]
    if parts["attempts"] != AttemptPolicy():
        content["attempts"] = asdict(parts["attempts"])
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _without_files(options: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in options.items() if name not in ("train", "json_schema")}


def _content(example: Any) -> list[Json]:
    return [example.id, example.fields, example.target, example.cluster]
