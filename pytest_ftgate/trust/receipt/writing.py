"""The receipt on disk: the old one goes first, the new one comes last and in one step."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.files.disk import write_text
from pytest_ftgate.trust.receipt import dsse
from pytest_ftgate.trust.receipt.form import ReceiptError, parse_json, read_file


@dataclass(frozen=True, slots=True)
class ReceiptSettings:
    """What was asked for."""

    path: Path
    days: int
    """How long the receipt is valid."""
    key: Path | None
    """Private key to sign with; None: a plain receipt."""


class Draft:
    """A receipt that is written, under another name, until the run is over."""

    def __init__(self, settings: ReceiptSettings, text: bytes) -> None:
        """Sign and write. Raises OSError, KeyFileError."""
        if settings.key is not None:
            text = dsse.sign(text, settings.key)
        self._path = settings.path
        self._draft: Path | None = settings.path.with_name(f".{settings.path.name}.{os.getpid()}.draft")
        write_text(self._draft, text.decode("ascii"))

    def publish(self) -> None:
        """From now on it is the receipt. Raises OSError."""
        if self._draft is not None:
            os.replace(self._draft, self._path)
            self._draft = None

    def discard(self) -> None:
        """There is no receipt of this run (nothing happens where it is published)."""
        if self._draft is not None:
            with contextlib.suppress(OSError):
                self._draft.unlink()
            self._draft = None


def remove_old(path: Path) -> str:
    """Remove what an earlier run left at this path: it is no receipt of this one. Why that cannot be done, or ""."""
    try:
        if not path.exists() and not path.is_symlink():
            return ""
        if not path.is_file():
            return f"{path.name} exists and is no file"
        if path.stat().st_size and not _is_receipt(path):
            return f"{path.name} exists and is no receipt; it is not overwritten"
        path.unlink()
    except OSError as error:
        return f"{path.name} cannot be replaced: {error.strerror}"
    return ""


def _is_receipt(path: Path) -> bool:
    """Loosely, so that none that some version of `pytest-ftgate verify` would believe stays."""
    try:
        value = parse_json(read_file(path))
    except ReceiptError:
        return False
    return isinstance(value, dict) and ("predicateType" in value or dsse.is_envelope(value))
