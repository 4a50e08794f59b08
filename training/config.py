"""The training file: one YAML, checked against training.schema.json, every default filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, TrainingDataError
from pytest_ftgate.files.schema import schema_problems
from pytest_ftgate.files.strictyaml import read_yaml
from training.contradictions import contradictions
from training.methods import METHODS, MethodRow


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
    replay: tuple[Path, ...] = ()
    """Files of general rows; () where none are mixed in."""
    replay_share: float = 0.0
    """Share of the final mix that is replay, in [0, 1)."""
    dev: tuple[Path, ...] = ()
    """Files of rows that the loss is measured on."""
    dev_share: float = 0.0
    """Share of the train rows that is held out as dev rows instead; 0: none."""
    prompts: tuple[Path, ...] = ()
    """Files of prompts that a teacher answers."""

    @property
    def has_dev(self) -> bool:
        """Whether there are dev rows."""
        return bool(self.dev) or self.dev_share > 0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who answers the prompts."""

    model: BaseModel | None
    """None where another tool wrote the answers."""
    answers: Path | None
    """The file that it wrote."""
    settings: Mapping[str, Json]
    """max_new_tokens, do_sample, temperature, top_p, batch_size; {} with `answers`."""
    provenance: Mapping[str, Json] = field(default_factory=dict)
    """What the answers were made from (training/teacher.py); {} until they are there."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A checked training file."""

    path: Path
    method: str
    """A name of training/methods.py."""
    base: BaseModel
    data: Data
    evals: tuple[Path, ...]
    """Eval-set files that will judge the result; no training row should repeat their examples."""
    output_dir: Path
    lora: Mapping[str, Json] | None
    """LoraConfig arguments, complete; None where the whole model is trained."""
    arguments: Mapping[str, Json]
    """The trainer's arguments (TRL's SFTConfig or DPOConfig), complete, with `warmup_ratio` and `optim` as written."""
    quantization: Mapping[str, Json] | None
    """BitsAndBytesConfig arguments, complete; None where the base is not held in 4 bits."""
    early_stopping: Mapping[str, Json] | None = None
    """EarlyStoppingCallback arguments, complete; None: train to the end."""
    teacher: Teacher | None = None

    @property
    def seed(self) -> int:
        """Of the weights' initialisation, the replay draw, the dev rows and the order of rows."""
        return int(self.arguments["seed"])

    @property
    def section(self) -> str:
        """The key of the training file that `arguments` come from."""
        return self.row.section

    @property
    def row(self) -> MethodRow:
        """What the method is. Raises UnknownMethod."""
        return METHODS[self.method]


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
    problems = contradictions(document, path.parent)
    if problems:
        raise TrainingDataError(problems)
    config = _build(document.data, path, schema["properties"])
    if output_dir is not None:
        config = replace(config, output_dir=output_dir)
    if seed is not None:
        config = replace(config, arguments={**config.arguments, "seed": seed})
    return config


def _build(data: Mapping[str, Json], path: Path, schema: Mapping[str, Any]) -> TrainingConfig:
    here, method = path.parent, METHODS[data["method"]]
    rows = data["data"]
    replay = rows.get("replay") or {"files": [], "share": 0.0}
    dev = rows.get("dev") or {}

    def files_of(names: Iterable[str]) -> tuple[Path, ...]:
        return tuple(here / name for name in names)

    arguments = _filled(schema[method.section], data.get(method.section), schema)
    if arguments["warmup_steps"] is not None:
        del arguments["warmup_ratio"]
    in_4_bits = method.in_4_bits == "always" or "quantization" in data
    stopping = data.get("early_stopping")
    return TrainingConfig(
        path=path,
        method=method.name,
        base=_model(data["base"], here),
        data=Data(
            train=files_of(rows.get("train", ())),
            replay=files_of(replay["files"]),
            replay_share=float(replay["share"]),
            dev=files_of(dev.get("files", ())),
            dev_share=float(dev.get("share", 0.0)),
            prompts=files_of(rows.get("prompts", ())),
        ),
        evals=files_of(data.get("evals", ())),
        output_dir=here / data["output_dir"],
        lora=None if method.trains == "model" else _filled(schema["lora"], data.get("lora"), schema),
        arguments=_measured(arguments, with_dev=bool(dev)),
        quantization=_filled(schema["quantization"], data.get("quantization"), schema) if in_4_bits else None,
        early_stopping=None if stopping is None else _filled(schema["early_stopping"], stopping, schema),
        teacher=None if "teacher" not in data else _teacher(data["teacher"], here, schema),
    )


def _model(written: Mapping[str, Json], here: Path) -> BaseModel:
    revision = written.get("revision")
    return BaseModel(written["id"], revision, None if revision else here / written["id"])


def _teacher(written: Mapping[str, Json], here: Path, schema: Mapping[str, Any]) -> Teacher:
    if "answers" in written:
        return Teacher(None, here / written["answers"], {})
    filled = _filled(schema["teacher"], written, schema)
    settings = {name: value for name, value in filled.items() if name not in ("id", "revision")}
    return Teacher(_model(filled, here), None, settings)


def _measured(arguments: dict[str, Json], *, with_dev: bool) -> dict[str, Json]:
    """When the loss on dev rows is measured; what is measured to choose a checkpoint must be saved."""
    if not with_dev:
        return {**arguments, "eval_strategy": "no", "load_best_model_at_end": False}
    found = {**arguments, "eval_strategy": arguments["eval_strategy"] or "epoch"}
    found["load_best_model_at_end"] = arguments["load_best_model_at_end"] is not False
    if found["load_best_model_at_end"]:
        found |= {"save_strategy": found["eval_strategy"], "save_steps": found["eval_steps"]}
    return found


def _filled(schema: Mapping[str, Any], written: Mapping[str, Json] | None, whole: Mapping[str, Any]) -> dict[str, Json]:
    """`written` with the schema's defaults for what it leaves out: the schema is the one place of defaults."""
    rules = {name: _followed(rule, whole) for name, rule in schema["properties"].items()}
    defaults = {name: rule["default"] for name, rule in rules.items() if "default" in rule}
    return {**defaults, **(written or {})}


def _followed(rule: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule that `#/properties/SECTION/properties/KEY` refers to."""
    if "$ref" not in rule:
        return rule
    _, _, section, _, name = rule["$ref"].split("/")
    found: Mapping[str, Any] = whole[section]["properties"][name]
    return found
