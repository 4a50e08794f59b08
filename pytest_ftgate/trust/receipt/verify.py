"""Checks that a receipt says SHIP for exactly these bytes. Standard library only: no torch, no pytest, no YAML.

The order is that of SLSA's verification summaries (https://slsa.dev/spec/v1.1/verification_summary, "How to verify"):
signature, form, bytes, policy, verdict, age. Every check is made and told; the first that failed decides the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.digests import base_digests, file_sha256
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.model import directory as files
from pytest_ftgate.trust.receipt import dsse
from pytest_ftgate.trust.receipt.form import TIME, Receipt, ReceiptError, parse, parse_json, read_file

YES, OTHER_VERDICT, USAGE = 0, 1, 4
OTHER_FILES, SIGNATURE, POLICY, EXPIRED, NO_RECEIPT = 30, 31, 32, 33, 34
CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead the clock of the machine that judged may have been."""


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a receipt."""

    adapter: Path
    receipt: Path
    now: datetime
    """With a time zone."""
    policies: Sequence[str] = ()
    """Approved policy digests; () accepts every one."""
    policy_file: Path | None = None
    """The ftgate.toml that must have been used."""
    base: Path | None = None
    """Directory of the base that is served."""
    max_age: timedelta | None = None
    keys: Sequence[Path] = ()
    """Public keys, one of which must have signed; () asks for no signature."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """What the candidate is served with: dtype, quantize, ..."""
    copy_to: Path | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str
    """What was found and, where it failed, what was expected. Printable."""
    code: int
    """Exit code where this is the first check that failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `pytest-ftgate verify` says."""

    checks: tuple[Check, ...]
    receipt: Receipt | None
    """None where it could not be read, or is not signed as asked."""

    @property
    def code(self) -> int:
        """The exit code: that of the first check that failed, else 0."""
        return next((check.code for check in self.checks if not check.ok), YES)


def verify(request: Request) -> Answer:
    """Make every check. With `copy_to`, the files are copied and the copy is checked; it appears only if all is well.

    Raises UsageError.
    """
    if not request.adapter.is_dir():
        raise UsageError(f"{request.adapter} is no directory. Fix: give the directory of the candidate")
    try:
        payload, signature = _signature(request, read_file(request.receipt))
        if not signature.ok:  # nothing that it says can be believed
            return Answer((signature,), None)
        receipt = parse(payload)
    except ReceiptError as error:
        return Answer((_check("receipt", False, f"{request.receipt.name}: {error}", NO_RECEIPT),), None)
    written = (
        f"{request.receipt.name}, written {receipt.time_verified.strftime(TIME)} by pytest-ftgate {receipt.written_by}"
    )
    asked = [check(request, receipt) for check in (_policy, _base, _runtime, _verdict, _age)]
    rest = [check for check in asked if check is not None]
    may_copy = all(check.ok for check in rest)
    found = _files(request, receipt, request.copy_to if may_copy else None)
    return Answer((_check("receipt", True, written, NO_RECEIPT), signature, found, *rest), receipt)


def _check(name: str, ok: bool, text: str, code: int) -> Check:
    return Check(name, ok, visible(text, limit=600), code)


def _signature(request: Request, raw: bytes) -> tuple[bytes, Check]:
    """(text of the statement, whether it is signed as asked). Raises ReceiptError, UsageError."""
    value = parse_json(raw)
    if not dsse.is_envelope(value):
        if request.keys:
            return raw, _check("signature", False, "expected a signed receipt, found a plain one", SIGNATURE)
        return raw, _check("signature", True, "none: a plain receipt shows accidents, not forgery", SIGNATURE)
    envelope = dsse.read_envelope(raw, value)
    if not request.keys:
        text = "the receipt is signed, but no --key was given to check that with"
        return envelope.payload, _check("signature", False, text, SIGNATURE)
    try:
        signer = dsse.signed_by(envelope, [dsse.load_public(path) for path in request.keys])
    except dsse.KeyFileError as error:
        raise UsageError(str(error)) from None
    if signer is None:
        text = f"expected a signature by {_named(request.keys)}, found one by another key, or of another text"
        return envelope.payload, _check("signature", False, text, SIGNATURE)
    return envelope.payload, _check("signature", True, f"by key {signer[:16]}", SIGNATURE)


def _named(paths: Sequence[Path]) -> str:
    return " or ".join(path.name for path in paths)


def _files(request: Request, receipt: Receipt, copy_to: Path | None) -> Check:
    try:
        if copy_to is not None:
            return _copied(request.adapter, receipt, copy_to)
        return _compared("files", receipt.files, files.digests(request.adapter))
    except IdentityError as error:
        return _check("files", False, str(error), OTHER_FILES)


def _copied(source: Path, receipt: Receipt, target: Path) -> Check:
    """Copy, comparing what was written; the target appears in one step, or not at all."""
    _check_target(source, target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check = _compared("files", receipt.files, files.copy(source, partial))
        if check.ok:
            os.replace(partial, target)
        return check
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}. Fix: give a place that can be written") from error
    finally:
        files.remove(partial)


def _check_target(source: Path, target: Path) -> None:
    here, there = source.resolve(), target.resolve()
    if here == there or here in there.parents:
        raise UsageError(f"--copy-to={target} lies inside {source}. Fix: give a directory elsewhere")
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UsageError(f"--copy-to={target} exists. Fix: give a directory that is new, or empty")


def _compared(name: str, expected: Mapping[str, str], found: Mapping[str, str]) -> Check:
    if expected == found:
        text = f"{len(found)} of {len(found)} as judged (dirHash {files.dir_hash(found)})"
        return _check(name, True, text, OTHER_FILES)
    wrong = [
        *(f"{n}: expected, not found" for n in sorted(expected.keys() - found.keys())),
        *(f"{n}: not expected, found" for n in sorted(found.keys() - expected.keys())),
        *(
            f"{n}: expected sha256 {expected[n][:12]}, found {found[n][:12]}"
            for n in sorted(expected.keys() & found.keys())
            if expected[n] != found[n]
        ),
    ]
    more = f"; {len(wrong) - 4} more" if len(wrong) > 4 else ""
    return _check(name, False, "; ".join(wrong[:4]) + more, OTHER_FILES)


def _policy(request: Request, receipt: Receipt) -> Check:
    digest = receipt.policy
    if request.policies and digest not in request.policies:
        expected = " or ".join(policy[:16] for policy in request.policies)
        return _check("policy", False, f"expected sha256 {expected}, found {digest}", POLICY)
    if request.policy_file is not None:
        try:
            expected = file_sha256(request.policy_file)
        except OSError as error:
            raise UsageError(f"cannot read --policy={request.policy_file}: {error.strerror}") from error
        if expected != receipt.policy_file:
            found = receipt.policy_file[:16] if receipt.policy_file else "no policy file"
            text = f"expected {request.policy_file.name} with sha256 {expected[:16]}, found {found}"
            return _check("policy", False, text, POLICY)
    approved = "" if request.policies or request.policy_file else " (any is accepted: no --policy-digest was given)"
    return _check("policy", True, f"sha256 {digest}{approved}", POLICY)


def _base(request: Request, receipt: Receipt) -> Check | None:
    if request.base is None:
        return None
    if not request.base.is_dir():
        raise UsageError(f"--base={request.base} is no directory. Fix: give the directory of the base")
    if (request.base / "adapter_config.json").exists():  # transformers would put it on the base, as runs refuse
        text = f"{request.base.name} holds an adapter (adapter_config.json) besides the base"
        return _check("base", False, text, OTHER_FILES)
    try:
        check = _compared("base", receipt.base_files, base_digests(request.base))
    except OSError as error:
        return _check("base", False, f"cannot read {request.base.name}: {error.strerror}", OTHER_FILES)
    return check if not check.ok else _check("base", True, f"{receipt.base}, as judged", OTHER_FILES)


def _runtime(request: Request, receipt: Receipt) -> Check | None:
    if not request.runtime:
        return None
    known = {key: str(value) for key, value in receipt.runtime.items() if isinstance(value, str | int)}
    if unknown := sorted(request.runtime.keys() - known.keys()):
        fix = f"use one of {', '.join(sorted(known))}"
        raise UsageError(f"--runtime: the receipt records no {unknown[0]!r}. Fix: {fix}")
    wrong = [
        f"{key}: expected {value}, judged with {known[key]}"
        for key, value in request.runtime.items()
        if known[key] != value
    ]
    same = ", ".join(f"{key} {value}" for key, value in request.runtime.items())
    return _check("runtime", not wrong, "; ".join(wrong) or f"{same}, as judged", OTHER_FILES)


def _verdict(request: Request, receipt: Receipt) -> Check:
    return _check("verdict", receipt.verdict == "SHIP", f"{receipt.verdict}: {receipt.reason}", OTHER_VERDICT)


def _age(request: Request, receipt: Receipt) -> Check:
    if request.now + CLOCK_SKEW < receipt.time_verified:
        text = f"written at {receipt.time_verified.strftime(TIME)}, which is still to come: one clock is wrong"
        return _check("time", False, text, EXPIRED)
    if request.now >= receipt.not_after:
        return _check("time", False, f"valid until {receipt.not_after.strftime(TIME)}", EXPIRED)
    age = request.now - receipt.time_verified
    if request.max_age is not None and age > request.max_age:
        return _check("time", False, f"expected at most {_days(request.max_age)}, found {_days(age)}", EXPIRED)
    return _check("time", True, f"valid until {receipt.not_after.strftime(TIME)}", EXPIRED)


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def answer_json(answer: Answer) -> dict[str, Json]:
    """For programs: strict JSON."""
    return {
        "exit_code": answer.code,
        "ok": answer.code == YES,
        "verdict": answer.receipt.verdict if answer.receipt else None,
        "checks": [{"name": c.name, "ok": c.ok, "text": c.text, "exit_code": c.code} for c in answer.checks],
    }
