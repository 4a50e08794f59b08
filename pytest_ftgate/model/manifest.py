"""`ftgate.json`, beside adapter_config.json (or a full model's config.json): what it was made from. Stdlib only.

The trainer writes it last; the gate reads it. It is the only place where the two meet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.strictjson import read_json
from pytest_ftgate.files.wording import describe, dotted, shown

MANIFEST_NAME = "ftgate.json"
MANIFEST_VERSION = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_RETRAIN = "train again, or restore the file as the trainer wrote it"


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """The base model that was trained on."""

    id: str
    """As written in the training file: a hub id or a path."""
    local: str | None
    """Base directory as a POSIX path relative to the adapter directory; None for a hub id."""
    revision: str | None
    """Commit of the hub repository, 40 hex digits; None for a local directory."""
    files: Mapping[str, str]
    """File name -> sha256, as of the training run."""


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """One file of training rows."""

    path: str
    """POSIX path relative to the adapter directory."""
    sha256: str
    """Of the file; of a directory (a saved dataset), of its `sha256sum` listing (files.digests.path_sha256)."""
    rows: int
    """Rows in the file (of a replay file, some may not have been drawn)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an adapter was made from."""

    version: int
    base: BaseRecord
    training: tuple[TrainingFile, ...]
    chat_template_sha256: str | None
    """Of the template text that the rows were rendered with; None where the tokenizer has none."""
    seed: int
    method: str
    hyperparameters: Mapping[str, Json]
    """Every setting of the run, defaults included."""
    versions: Mapping[str, str]
    """Distribution name -> version of the libraries that trained."""
    warnings: tuple[str, ...]
    """What the pre-flight and the trainer said."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """File name -> sha256 of the config and weights that the run wrote; {}: not recorded, and not checked."""


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    """Write `ftgate.json` into `directory` in one step (a reader sees all of it or nothing). Raises OSError."""
    target = directory / MANIFEST_NAME
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(target, text)
    return target


def read_manifest(directory: Path) -> Manifest | None:
    """Read `ftgate.json`; None where the directory has none.

    Raises TrainingDataError with every problem found: not JSON, a key missing or unknown, a wrong type,
    another version.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        return None
    return _Reader(shown(path)).manifest(_parse(path))


def _parse(path: Path) -> Json:
    try:
        return read_json(path)
    except InputError as error:
        raise TrainingDataError(error.problems) from None


class _Reader:
    """Checks parsed JSON against the dataclasses above, collecting problems instead of stopping at the first."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []

    def manifest(self, value: Json) -> Manifest:
        if isinstance(value, dict) and value.get("version") != MANIFEST_VERSION:
            self.problem("version", f"expected {MANIFEST_VERSION}", value.get("version"))
            raise TrainingDataError(self.problems)
        fields = self.record(
            "",
            value,
            {
                "version": self.count,
                "base": self.base,
                "training": self.training,
                "chat_template_sha256": self.optional(self.sha256),
                "seed": self.count,
                "method": self.text,
                "hyperparameters": self.mapping,
                "versions": self.texts,
                "warnings": self.strings,
                "weights": self.digests,
            },
        )
        if self.problems:
            raise TrainingDataError(self.problems)
        return Manifest(**fields)

    def base(self, key: str, value: Json) -> BaseRecord | None:
        fields = self.record(
            key,
            value,
            {
                "id": self.text,
                "local": self.optional(self.posix),
                "revision": self.optional(self.revision),
                "files": self.digests,
            },
        )
        return None if self.problems else BaseRecord(**fields)

    def training(self, key: str, value: Json) -> tuple[TrainingFile, ...]:
        if not isinstance(value, list):
            self.problem(key, "expected a list", value)
            return ()
        checks: dict[str, Check] = {"path": self.posix, "sha256": self.sha256, "rows": self.count}
        records = [self.record(f"{key}[{i}]", item, checks) for i, item in enumerate(value)]
        return () if self.problems else tuple(TrainingFile(**record) for record in records)

    def record(self, key: str, value: Json, checks: Mapping[str, Check]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.problem(key, f"expected an object with {', '.join(checks)}", value)
            return {}
        prefix = f"{key}." if key else ""
        for name in value.keys() - checks.keys():
            self.problem(f"{prefix}{dotted([name])}", f"expected one of {', '.join(checks)}", name)
        found: dict[str, Any] = {}
        for name, check in checks.items():
            if name not in value:
                self.problems.append(Problem(self.path, None, prefix + name, "expected, not found", _RETRAIN))
            else:
                found[name] = check(prefix + name, value[name])
        return found

    def problem(self, key: str, expected: str, value: object) -> None:
        self.problems.append(Problem(self.path, None, key, f"{expected}, found {describe(value)}", _RETRAIN))

    def accept(self, key: str, value: Json, ok: bool, expected: str) -> Json:
        if not ok:
            self.problem(key, expected, value)
        return value

    def optional(self, check: Check) -> Check:
        return lambda key, value: None if value is None else check(key, value)

    def count(self, key: str, value: Json) -> Json:
        return self.accept(key, value, type(value) is int and value >= 0, "expected a whole number >= 0")

    def text(self, key: str, value: Json) -> Json:
        return self.accept(key, value, isinstance(value, str) and value != "", "expected text")

    def sha256(self, key: str, value: Json) -> Json:
        ok = isinstance(value, str) and _SHA256.fullmatch(value) is not None
        return self.accept(key, value, ok, "expected 64 lower-case hex digits")

    def revision(self, key: str, value: Json) -> Json:
        ok = isinstance(value, str) and _REVISION.fullmatch(value) is not None
        return self.accept(key, value, ok, "expected 40 lower-case hex digits")

    def posix(self, key: str, value: Json) -> Json:
        ok = isinstance(value, str) and value != "" and not value.startswith("/") and not set(value) & {"\\", "\0"}
        return self.accept(key, value, ok, "expected a POSIX path relative to the adapter directory")

    def mapping(self, key: str, value: Json) -> Json:
        return self.accept(key, value, isinstance(value, dict), "expected an object")

    def texts(self, key: str, value: Json) -> Json:
        ok = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        return self.accept(key, value, ok, "expected an object of strings")

    def digests(self, key: str, value: Json) -> Json:
        if isinstance(value, dict):
            for name, digest in value.items():
                self.sha256(f"{key}.{dotted([name])}", digest)
        return self.mapping(key, value)

    def strings(self, key: str, value: Json) -> Json:
        ok = isinstance(value, list) and all(isinstance(item, str) for item in value)
        self.accept(key, value, ok, "expected a list of strings")
        return tuple(value) if ok else ()


Check = Callable[[str, Json], Any]
