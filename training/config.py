"""The training file: one YAML, checked against training.schema.json, every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from evalsets.errors import InputError, Problem, TrainingDataError
from evalsets.schema import schema_problems
from evalsets.strictyaml import Document, read_yaml
from evalsets.types import Json
from evalsets.wording import brief, shown


@dataclass(frozen=True, slots=True)
class BaseModel:
    """Which model is trained."""

    id: str
    """As written: a hub id, or a directory relative to the training file."""
    revision: str | None
    """Commit of the hub repository, 40 hex digits; None for a directory."""
    directory: Path | None
    """The directory; None for a hub id."""


@dataclass(frozen=True, slots=True)
class Data:
    """Which rows it is trained on."""

    train: tuple[Path, ...]
    replay: tuple[Path, ...]
    """Files of general rows; () where none are mixed in."""
    replay_share: float
    """Share of the final mix that is replay, in [0, 1)."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A checked training file."""

    path: Path
    method: str
    """lora · qlora · full"""
    base: BaseModel
    data: Data
    evals: tuple[Path, ...]
    """Eval-set files whose examples no training row should repeat."""
    output_dir: Path
    lora: Mapping[str, Json] | None
    """LoraConfig arguments, complete; None for the method full."""
    sft: Mapping[str, Json]
    """SFTConfig arguments, complete, with `warmup_ratio` and `optim` as written."""
    quantization: Mapping[str, Json] | None
    """BitsAndBytesConfig arguments, complete; None unless the method is qlora."""

    @property
    def seed(self) -> int:
        """Of the weights' initialisation, the replay draw and the order of rows."""
        return int(self.sft["seed"])


def training_schema() -> dict[str, Any]:
    """The JSON Schema of the training file, as shipped for editors."""
    text = files("training").joinpath("training.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def load_config(path: Path, *, output_dir: Path | None = None, seed: int | None = None) -> TrainingConfig:
    """Read and check one training file; `output_dir` and `seed` override what it says.

    Raises TrainingDataError with every problem found, each with file, line, key and fix.
    """
    try:
        document = read_yaml(path)
    except InputError as error:
        raise TrainingDataError(error.problems) from None
    schema = training_schema()
    problems = schema_problems(document, schema)
    if problems:
        raise TrainingDataError(problems)
    problems = _contradictions(document, path.parent)
    if problems:
        raise TrainingDataError(problems)
    config = _build(document.data, path, schema["properties"])
    if output_dir is not None:
        config = replace(config, output_dir=output_dir)
    if seed is not None:
        config = replace(config, sft={**config.sft, "seed": seed})
    return config


def _build(data: Mapping[str, Json], path: Path, schema: Mapping[str, Any]) -> TrainingConfig:
    here = path.parent
    base, rows = data["base"], data["data"]
    replay = rows.get("replay") or {"files": [], "share": 0.0}
    revision = base.get("revision")
    sft = _filled(schema["sft"], data.get("sft"))
    if sft["warmup_steps"] is not None:
        del sft["warmup_ratio"]
    return TrainingConfig(
        path=path,
        method=data["method"],
        base=BaseModel(base["id"], revision, None if revision else here / base["id"]),
        data=Data(
            tuple(here / name for name in rows["train"]),
            tuple(here / name for name in replay["files"]),
            float(replay["share"]),
        ),
        evals=tuple(here / name for name in data.get("evals", ())),
        output_dir=here / data["output_dir"],
        lora=None if data["method"] == "full" else _filled(schema["lora"], data.get("lora")),
        sft=sft,
        quantization=_filled(schema["quantization"], data.get("quantization")) if data["method"] == "qlora" else None,
    )


def _filled(schema: Mapping[str, Any], written: Mapping[str, Json] | None) -> dict[str, Json]:
    """`written` with the schema's defaults for what it leaves out: the schema is the one place of defaults."""
    defaults = {name: rule["default"] for name, rule in schema["properties"].items() if "default" in rule}
    return {**defaults, **(written or {})}


def _contradictions(document: Document, here: Path) -> list[Problem]:
    """What a JSON Schema cannot say."""
    data = document.data
    found: list[Problem] = []

    def add(place: tuple[str, ...], what: str, fix: str) -> None:
        found.append(Problem(document.path, document.line(place), ".".join(place), what, fix))

    base, sft = data["base"], data.get("sft") or {}
    if base.get("revision") is None and not (here / base["id"]).is_dir():
        what = f"expected a directory, found none at {brief(shown(here / base['id']))}"
        add(("base", "id"), what, "correct the path; or, for a hub id, add `revision:` with the 40-digit commit")
    if base.get("revision") is not None and (here / base["id"]).is_dir():
        what = "expected a hub id beside `revision`, found a directory"
        add(("base", "revision"), what, "delete `revision`: a directory is recorded by the digests of its files")
    if data["method"] != "qlora" and "quantization" in data:
        what = f"expected only with method qlora, found it with method {data['method']}"
        add(("quantization",), what, "delete it, or write `method: qlora`")
    if data["method"] == "full" and "lora" in data:
        add(
            ("lora",),
            "expected no adapter settings with method full, found some",
            "delete them, or write `method: lora`",
        )
    if "warmup_ratio" in sft and sft.get("warmup_steps") is not None:
        add(("sft", "warmup_steps"), "expected either warmup_steps or warmup_ratio, found both", "delete one")
    return found
