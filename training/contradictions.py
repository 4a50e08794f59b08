"""Finds keys of a training file that are each right and do not go together. A JSON Schema cannot say this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import Problem
from pytest_ftgate.files.strictyaml import Document, Place
from pytest_ftgate.files.wording import brief, dotted, shown
from training.methods import METHODS, PLAIN, names_where, sections

Found = Iterator[tuple[Place, str, str]]
"""(place, what, fix)"""


def contradictions(document: Document, here: Path) -> list[Problem]:
    """Every contradiction of a document that obeys the schema; paths are relative to `here`."""
    data = document.data
    found = [
        *_model(("base",), data["base"], here),
        *_model(("teacher",), data.get("teacher", {}), here),
        *_method(data),
        *_teacher(data),
        *_dev(data),
    ]
    return [Problem(document.path, document.line(place), dotted(place), what, fix) for place, what, fix in found]


def _model(place: tuple[str, ...], model: Mapping[str, Json], here: Path) -> Found:
    if "id" not in model:
        return
    is_directory = (here / model["id"]).is_dir()
    if model.get("revision") is None and not is_directory:
        what = f"expected a directory, found none at {brief(shown(here / model['id']))}"
        yield (*place, "id"), what, "correct the path; or, for a hub id, add `revision:` with the 40-digit commit"
    if model.get("revision") is not None and is_directory:
        what = "expected a hub id beside `revision`, found a directory"
        yield (*place, "revision"), what, "delete `revision`: a directory is recorded by the digests of its files"


def _method(data: Mapping[str, Json]) -> Found:
    method = METHODS[data["method"]]
    if method.in_4_bits == "never" and "quantization" in data:
        others = names_where(lambda row: row.in_4_bits != "never")
        what = f"expected only with method {others}, found it with method {method.name}"
        yield ("quantization",), what, "delete it, or write `method: qlora`"
    if method.trains == "model" and "lora" in data:
        what = f"expected no adapter settings with method {method.name}, found some"
        yield ("lora",), what, f"delete them, or write `method: {PLAIN.name}`"
    used = method.section
    for unused in (section for section in sections() if section != used and section in data):
        what = f"expected the settings of method {method.name} under `{used}`, found `{unused}`"
        yield (unused,), what, f"move them to `{used}`, or correct `method`"
    settings = data.get(used) or {}
    if "warmup_ratio" in settings and settings.get("warmup_steps") is not None:
        yield (used, "warmup_steps"), "expected either warmup_steps or warmup_ratio, found both", "delete one"
    if not method.has_teacher and "train" not in data["data"]:
        yield ("data",), "expected training rows, found no `train`", "add `train: [train.jsonl]`"


def _teacher(data: Mapping[str, Json]) -> Found:
    teacher, prompts = data.get("teacher"), "prompts" in data["data"]
    method = METHODS[data["method"]]
    if not method.has_teacher:
        what = (
            f"expected only with method {names_where(lambda row: row.has_teacher)}, found it with method {method.name}"
        )
        for place in [("teacher",)] * (teacher is not None) + [("data", "prompts")] * prompts:
            yield place, what, "delete it"
    elif teacher is None:
        yield (), f"expected a `teacher` for method {method.name}, found none", "add `teacher: {id: ../large}`"
    elif "id" in teacher and not prompts:
        what = "expected prompts for the teacher to answer, found none"
        yield ("data",), what, "add `prompts: [prompts.jsonl]`: rows with `prompt`"
    elif "answers" in teacher and prompts:
        what = "expected no prompts beside the teacher's answers, which hold them, found some"
        yield ("data", "prompts"), what, "delete it"
    if teacher is not None and "answers" in teacher and len(teacher) > 1:
        what = "expected only `answers` where another tool wrote them, found settings for generating"
        yield ("teacher",), what, "delete the other keys"
    if teacher is not None and not teacher.get("do_sample") and {"temperature", "top_p"} & set(teacher):
        what = "expected temperature and top_p only with `do_sample: true`, found greedy decoding"
        yield ("teacher",), what, "add `do_sample: true`, or delete them"


def _dev(data: Mapping[str, Json]) -> Found:
    section = METHODS[data["method"]].section
    settings, dev = data.get(section) or {}, data["data"].get("dev")
    strategy, keeps_best = settings.get("eval_strategy"), settings.get("load_best_model_at_end")
    stopping = data.get("early_stopping")
    if dev is None:
        fix = "add `dev: {share: 0.1}` under `data`, or delete this"
        if stopping is not None:
            yield ("early_stopping",), "expected dev rows to stop by, found none", fix
        if strategy not in (None, "no"):
            yield (section, "eval_strategy"), "expected dev rows to measure the loss on, found none", fix
        if keeps_best:
            yield (section, "load_best_model_at_end"), "expected dev rows to choose by, found none", fix
        return
    if strategy == "no":
        yield (section, "eval_strategy"), "expected epoch or steps where there are dev rows, found no", "delete it"
    if stopping is not None and keeps_best is False:
        what = "expected the best checkpoint to be kept with early_stopping, found false"
        yield (section, "load_best_model_at_end"), what, "delete it"
    wanted = strategy if strategy in ("epoch", "steps") else "epoch"
    if keeps_best is not False and settings.get("save_strategy", wanted) != wanted:
        what = f"expected {wanted}, when the loss on the dev rows is measured, found {settings['save_strategy']}"
        yield (section, "save_strategy"), what, "delete it, or write `load_best_model_at_end: false`"
