"""The ledger of attempts: which model was judged on which examples, append-only, and hard to rewind unnoticed.

`.ftgate/ledger.jsonl` holds one strict-JSON object per line; each line carries the sha256 of the line before.
`.ftgate/ledger.head` holds how many lines there are and the sha256 of the last, so that a tail cut off cleanly is seen
too. A ledger that cannot be trusted is reported and never repaired: lines are added, the head stays as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock

from pytest_ftgate import __version__
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import loads
from pytest_ftgate.results import Outcome

FOLDER = ".ftgate"
LEDGER, HEAD, ANSWERS = "ledger.jsonl", "ledger.head", "cache"
NOTHING = "0" * 64
"""What the first line carries as the sha256 of the line before."""
FIX = (
    f"restore {FOLDER}/{LEDGER} and {FOLDER}/{HEAD} from version control or the last CI run; only where the examples "
    f"are fresh, remove both and {FOLDER}/{ANSWERS}, and begin anew with --ft-begin-ledger"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a candidate was judged on an eval set, or answered a part of it (`kind`: look)."""

    evalset: str
    examples: str
    """sha256 over what the examples ask, whatever their order, ids and references."""
    n: int
    """Distinct questions among the examples."""
    sketch: tuple[str, ...]
    """The smallest hashes of these questions: how much two eval sets share can be read from them."""
    content: str
    """EvalSet.digest: examples, references, prompts, scorer, generation, gates, policy."""
    gates: str
    """sha256 over kinds, bounds and options of the gates as they were judged, and over alpha before it was shared."""
    candidate: str
    """Candidate.digest: the files of the candidate and of its base."""
    form: tuple[str, ...]
    """dtype and quantize: what of the candidate was run."""
    index: int
    """Which attempt on these examples this was, from 1."""
    spend: str
    """none · harmonic · fixed-budget:N"""
    alpha: float
    """Level that its gates were judged at."""
    feedback: str
    """full · sealed"""
    outcomes: Mapping[str, Outcome]
    """Gate kind -> outcome, of gates that gave a result in this run."""
    kind: Literal["attempt", "look"] = "attempt"
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as it was read."""

    entries: tuple[Entry, ...] = ()
    """Every attempt that can be read, in order."""
    hashes: tuple[str, ...] = ()
    """sha256 of each line."""
    broken: str = ""
    """Why chain or head cannot be trusted. Empty where they can."""
    doubt: str = ""
    """Why it does not hold every attempt although its chain is sound. Empty where nothing says so."""

    declared: bool = False
    """Whether a run has said that it begins the count, or one that shares alpha was counted."""
    looks: tuple[Entry, ...] = ()
    """Looks at parts: no attempts, and counted apart."""

    @property
    def problem(self) -> str:
        """Why attempts cannot be counted. Empty where they can."""
        return self.doubt or self.broken  # the doubt is older, and says what happened

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever written."""
        return not self.hashes and not self.broken


def read_ledger(root: Path) -> Ledger:
    """The ledger below pytest's root directory; writes nothing."""
    with _locked(root):
        return _read(root)


def begin_ledger(root: Path, *, declared: bool = False) -> Ledger:
    """The ledger as found; where there is none, begin it, so that its absence can be seen later. Raises OSError.

    `declared`: the user said so (--ft-begin-ledger); without it, no eval set that shares alpha is counted on it.
    """
    (root / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(root):
        found = _read(root)
        if not found.hashes or (declared and not found.declared):
            said = {"declared": declared, "doubt": found.problem}
            _write(root, found, [{"kind": "begun", "ftgate": __version__, **said}])
        return found


def append_entries(root: Path, make: Callable[[Ledger], Sequence[Entry]]) -> Ledger:
    """Add what `make` returns for the ledger as it is now, all under one lock; the ledger afterwards.

    Raises OSError where it cannot be written.
    """
    (root / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(root):
        found = _read(root)
        bodies = [asdict(entry) for entry in make(found)]
        if not bodies:
            return found
        _write(root, found, bodies)
        return _read(root)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Readers wait too: half of a line that is being written looks like one that was cut off."""
    folder = root / FOLDER
    if not (folder.is_dir() and os.access(folder, os.W_OK)):  # nobody can write here: nothing to wait for
        yield
        return
    with FileLock(folder / f"{LEDGER}.lock"):
        yield


def _read(root: Path) -> Ledger:
    path = root / FOLDER / LEDGER
    try:
        data = path.read_bytes() if path.is_file() else b""
        head = _head(root / FOLDER / HEAD)
    except OSError as error:
        return Ledger(broken=f"{FOLDER}/{LEDGER} and its head cannot be read: {error.strerror or error}")
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    hashes = tuple(hashlib.sha256(line).hexdigest() for line in lines)
    entries: list[Entry] = []
    broken = doubt = ""
    declared = False
    for number, (line, before) in enumerate(zip(lines, (NOTHING, *hashes), strict=False), 1):
        body = _body(line)
        if body is None or body.get("previous") != before:
            broken = broken or f"line {number} of {FOLDER}/{LEDGER} was changed, moved or follows one that is missing"
        elif body["kind"] == "begun":
            doubt = doubt or str(body.get("doubt", ""))
            declared = declared or body.get("declared") is True
        if body is not None and (entry := _entry(body)):
            entries.append(entry)
            declared = declared or (entry.kind == "attempt" and entry.spend != "none")
        elif body is not None and body["kind"] != "begun":
            broken = broken or f"line {number} of {FOLDER}/{LEDGER} is not an attempt as ftgate writes it"
    if data and not data.endswith(b"\n"):
        broken = broken or f"{FOLDER}/{LEDGER} is cut off in its last line"
    broken = broken or _against_head(head, hashes)
    if not hashes and not broken and any((root / FOLDER / ANSWERS).glob("*/*.jsonl")):
        doubt = f"{FOLDER}/{ANSWERS} holds answers of earlier runs, and the ledger that counted them is missing"
    attempts, looks = (tuple(e for e in entries if e.kind == kind) for kind in ("attempt", "look"))
    return Ledger(attempts, hashes, broken, doubt, declared, looks)


def _body(line: bytes) -> dict[str, Json] | None:
    try:
        body = loads(line.decode("utf-8"))
    except (InputError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) and body.get("kind") in ("begun", "attempt", "look") else None


def _entry(body: Mapping[str, Json]) -> Entry | None:
    """The Entry of a line; None where the line is of another kind or shape."""
    names = {f.name for f in fields(Entry)}
    if set(body) != names | {"previous"} or body["kind"] == "begun":
        return None
    whole = all(type(body[name]) is int and body[name] > 0 for name in ("n", "index"))
    lists = all(isinstance(body[name], list) for name in ("sketch", "form"))
    outcomes = body["outcomes"]
    sound = isinstance(outcomes, dict) and set(outcomes.values()) <= set(get_args(Outcome))
    if not (whole and lists and sound and isinstance(body["alpha"], float)):
        return None
    given = {name: body[name] for name in names}
    return Entry(**{**given, "sketch": tuple(body["sketch"]), "form": tuple(body["form"])})


def _head(path: Path) -> tuple[int, str] | None:
    """(lines, sha256 of the last); None where there is no head, (0, "") where it is not as ftgate writes it."""
    if not path.is_file():
        return None
    try:
        head = loads(path.read_bytes().decode("utf-8"))
    except (InputError, UnicodeDecodeError):
        return 0, ""
    sound = isinstance(head, dict) and type(head.get("count")) is int and head["count"] > 0
    return (head["count"], str(head.get("sha256"))) if sound else (0, "")


def _against_head(head: tuple[int, str] | None, hashes: Sequence[str]) -> str:
    """Why lines and head record disagree; a ledger that is ahead was written by a run that ended before its head."""
    if head is None:
        return f"{FOLDER}/{HEAD} is missing beside {FOLDER}/{LEDGER}" if hashes else ""
    count, last = head
    if count == 0:
        return f"{FOLDER}/{HEAD} is not as ftgate writes it"
    if count > len(hashes):
        what = f"holds {len(hashes)}" if hashes else "is missing, all"
        return f"{FOLDER}/{LEDGER} {what} of the {count} lines that {FOLDER}/{HEAD} counts"
    return "" if hashes[count - 1] == last else f"line {count} of {FOLDER}/{LEDGER} is not the one in {FOLDER}/{HEAD}"


def _write(root: Path, found: Ledger, bodies: Sequence[Mapping[str, object]]) -> None:
    """Lines first, then the head: a crash between the two leaves a ledger that is ahead, which is sound."""
    path = root / FOLDER / LEDGER
    hashes, block = list(found.hashes), b""
    for body in bodies:
        previous = hashes[-1] if hashes else NOTHING
        text = json.dumps({"previous": previous, **body}, sort_keys=True, allow_nan=False, separators=(",", ":"))
        block += text.encode() + b"\n"
        hashes.append(hashlib.sha256(text.encode()).hexdigest())
    with path.open("a+b") as file:
        if file.tell() and not _ends_line(path):
            block = b"\n" + block
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if not found.broken:
        write_text(root / FOLDER / HEAD, json.dumps({"count": len(hashes), "sha256": hashes[-1]}) + "\n")


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
