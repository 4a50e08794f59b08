"""A receipt as data: an in-toto Statement about one verdict, sealed, and read without mercy. Standard library only.

Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. The seal is the sha256 of the whole
text as it is without the seal's 64 digits; it finds accidents (a changed byte anywhere, another layout), not forgers,
who can seal what they wrote. Only a signature is proof against those.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pytest_ftgate.files.disk import opened
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import loads
from pytest_ftgate.files.wording import describe, dotted
from pytest_ftgate.model.directory import dir_hash, name_problem
from pytest_ftgate.results import RunVerdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_NAME = "https://github.com/pytest-ftgate/pytest-ftgate/verdict"
PREDICATE_TYPE = f"{PREDICATE_NAME}/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
VERIFIER = "https://github.com/pytest-ftgate/pytest-ftgate"
MAX_BYTES = 16 * 2**20
TIME = "%Y-%m-%dT%H:%M:%SZ"

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReceiptError(Exception):
    """There is no receipt at this place, or it is none that ftgate wrote."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says, as far as `pytest-ftgate verify` asks."""

    verdict: RunVerdict
    scope: str
    """`full`: every gate on disk was judged; `stopped`: the run ended at a gate that failed."""
    reason: str
    written_by: str
    """Version of pytest-ftgate."""
    time_verified: datetime
    not_after: datetime
    files: Mapping[str, str]
    """POSIX name -> sha256 of the candidate's files: the subjects of the statement."""
    base: str
    """Hub id, or the name of its directory."""
    base_files: Mapping[str, str]
    policy: str
    """sha256 over what had to be passed."""
    policy_file: str | None
    """sha256 of ftgate.toml; None where there was none."""
    runtime: Mapping[str, Json]


def read_file(path: Path) -> bytes:
    """The bytes of a receipt. Raises ReceiptError."""
    try:
        with opened(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except InputError as error:
        raise ReceiptError(str(error)) from None
    if len(raw) > MAX_BYTES:
        raise ReceiptError(f"expected at most {MAX_BYTES // 2**20} MiB, found a larger file")
    return raw


def parse_json(raw: bytes) -> Json:
    """Strict JSON. Raises ReceiptError."""
    try:
        return loads(raw.decode("utf-8"), path="receipt")
    except UnicodeDecodeError as error:
        raise ReceiptError("expected UTF-8 text, found other bytes") from error
    except InputError as error:
        raise ReceiptError(str(error.problems[0])) from None


def render(statement: Mapping[str, Json]) -> bytes:
    """The statement as text, with a seal in its predicate. Raises ValueError where a number is not finite."""
    plain = {**statement, "predicate": {**statement["predicate"], "seal": "0" * 64}}
    seal = hashlib.sha256(_text(plain)).hexdigest()
    return _text({**plain, "predicate": {**plain["predicate"], "seal": seal}})


def parse(raw: bytes) -> Receipt:
    """The receipt in the text that `render` wrote. Raises ReceiptError."""
    value = _Value(parse_json(raw))
    kind = value.text("predicateType")
    if value.text("_type") != STATEMENT_TYPE or not kind.startswith(f"{PREDICATE_NAME}/"):
        raise ReceiptError(f"it is no verdict of ftgate but {describe(kind)}")
    if kind != PREDICATE_TYPE:
        raise ReceiptError(f"expected version v1, found {describe(kind.removeprefix(PREDICATE_NAME))}: update ftgate")
    _check_seal(raw, value.sha256("predicate", "seal"))
    files = _subjects(value)
    if value.sha256("predicate", "adapter", "dirHash") != dir_hash(files):
        raise ReceiptError("adapter.dirHash is not that of the subjects")
    receipt = Receipt(
        verdict=value.one_of(get_args(RunVerdict), "predicate", "verdict"),
        scope=value.one_of(("full", "stopped"), "predicate", "scope"),
        reason=value.text("predicate", "reason"),
        written_by=value.text("predicate", "verifier", "version", "pytest-ftgate"),
        time_verified=value.time("predicate", "timeVerified"),
        not_after=value.time("predicate", "notAfter"),
        files=files,
        base=value.text("predicate", "base", "name"),
        base_files=value.digests("predicate", "base", "files"),
        policy=value.sha256("predicate", "policy", "digest", "sha256"),
        policy_file=value.optional_sha256("predicate", "policy", "file"),
        runtime=value.mapping("predicate", "runtime"),
    )
    _check_sense(receipt, value)
    return receipt


def _text(statement: Mapping[str, Json]) -> bytes:
    text = json.dumps(statement, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return f"{text}\n".encode("ascii")


def _check_seal(raw: bytes, seal: str) -> None:
    if raw.count(seal.encode()) != 1 or hashlib.sha256(raw.replace(seal.encode(), b"0" * 64)).hexdigest() != seal:
        raise ReceiptError("its seal does not fit: it was changed, or laid out anew, after it was written")


def _subjects(value: _Value) -> dict[str, str]:
    subjects = value.value.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise ReceiptError("subject: expected a list of files, found none")
    found: dict[str, str] = {}
    for place, entry in enumerate(subjects):
        subject = _Value(entry, f"subject[{place}]")
        name = subject.text("name")
        if problem := name_problem(name):
            raise ReceiptError(f"subject[{place}].name {problem}")
        if name in found:
            raise ReceiptError(f"subject[{place}].name: {describe(name)} is listed twice")
        found[name] = subject.sha256("digest", "sha256")
    return found


def _check_sense(receipt: Receipt, value: _Value) -> None:
    """SHIP means what it says: every gate judged and passed, every example answered."""
    if receipt.not_after <= receipt.time_verified:
        raise ReceiptError("notAfter is not after timeVerified")
    counts = {name: value.count("predicate", "coverage", name) for name in ("planned", "answered", "errors")}
    gates = value.items("predicate", "gates")
    outcomes = [gate.one_of(("PASS", "FAIL", "INCONCLUSIVE", "ERROR"), "outcome") for gate in gates]
    if receipt.verdict != "SHIP":
        return
    if receipt.scope != "full" or not outcomes or any(outcome != "PASS" for outcome in outcomes):
        raise ReceiptError("verdict: SHIP, but not every gate was judged and passed")
    if counts["errors"]:
        raise ReceiptError(f"verdict: SHIP, but {counts['errors']} answers could not be obtained")


class _Value:
    """Parsed JSON, asked key by key; what is missing or of another kind is a ReceiptError. Unknown keys are ignored."""

    def __init__(self, value: Json, place: str = "") -> None:
        if not isinstance(value, dict):
            raise ReceiptError(f"{place or 'the receipt'}: expected an object, found {describe(value)}")
        self.value, self._place = value, place

    def text(self, *keys: str) -> str:
        return str(self._of(keys, lambda v: isinstance(v, str) and v != "", "text"))

    def one_of(self, allowed: tuple[str, ...], *keys: str) -> Any:
        return self._of(keys, lambda v: isinstance(v, str) and v in allowed, f"one of {', '.join(allowed)}")

    def sha256(self, *keys: str) -> str:
        return str(self._of(keys, _is_sha256, "64 lower-case hex digits"))

    def optional_sha256(self, *keys: str) -> str | None:
        found = self._of(keys, lambda v: v is None or _is_sha256(v), "64 lower-case hex digits or null")
        return None if found is None else str(found)

    def count(self, *keys: str) -> int:
        return int(self._of(keys, lambda v: type(v) is int and v >= 0, "a whole number"))

    def mapping(self, *keys: str) -> dict[str, Json]:
        return dict(self._of(keys, lambda v: isinstance(v, dict), "an object"))

    def digests(self, *keys: str) -> dict[str, str]:
        found = self.mapping(*keys)
        if not found or not all(map(_is_sha256, found.values())):
            raise ReceiptError(f"{self._name(keys)}: expected file names and their sha256")
        return found

    def items(self, *keys: str) -> list[_Value]:
        found = self._of(keys, lambda v: isinstance(v, list), "a list")
        return [_Value(entry, f"{self._name(keys)}[{place}]") for place, entry in enumerate(found)]

    def time(self, *keys: str) -> datetime:
        text = self._of(keys, lambda v: isinstance(v, str) and _TIME.fullmatch(v), "a time like 2026-01-31T12:00:00Z")
        try:
            return datetime.strptime(text, TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise ReceiptError(f"{self._name(keys)}: {text} is no day and time") from error

    def _of(self, keys: tuple[str, ...], good: Callable[[Json], object], expected: str) -> Json:
        found: Json = self.value
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise ReceiptError(f"{self._name(keys)}: expected {expected}, found nothing")
            found = found[key]
        if not good(found):
            raise ReceiptError(f"{self._name(keys)}: expected {expected}, found {describe(found)}")
        return found

    def _name(self, keys: tuple[str, ...]) -> str:
        return dotted([part for part in (self._place, *keys) if part])


def _is_sha256(value: Json) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
