"""The files that a run was asked to write: where they may lie, and what an earlier run left there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pytest_ftgate.errors import Unusable
from pytest_ftgate.model import directory as files
from pytest_ftgate.report.sinks import SINKS
from pytest_ftgate.trust.receipt import dsse
from pytest_ftgate.trust.receipt.writing import ReceiptSettings, remove_old

NAMED = ("model", "base", *(sink.name for sink in SINKS), "receipt", "sign_key", "policy", "policy_ref")
"""Options whose value is a name; an empty one comes from an empty variable of a shell."""


def clear_outputs(option: Any, directory: Path) -> None:
    """Remove what earlier runs left: it must not be read as this run's. Raises Unusable.

    `option` holds the `--ft-...` options as argparse names them; paths are relative to `directory`.
    """
    for name in NAMED:
        if vars(option)[f"ft_{name}"] == "":
            given = f"--ft-{name.replace('_', '-')}"
            raise Unusable(f"{given}= is empty (a variable that is not set?). Fix: name something, or leave it out")
    places = {"--ft-receipt": directory / option.ft_receipt} if option.ft_receipt else {}
    places |= {f"--ft-{name}": path for name, path in outputs_of(option, directory).items()}
    _check_places(places, directory / option.ft_model if option.ft_model else None)
    old = places.pop("--ft-receipt", None)
    # Also where nothing is going to be judged: what stays here would be believed.
    if old is not None and (problem := remove_old(old)):
        raise Unusable(f"--ft-receipt: {problem}. Fix: name another file, or remove it")
    if not option.collectonly:
        for path in places.values():
            with contextlib.suppress(OSError):
                path.unlink()


def outputs_of(option: Any, directory: Path) -> dict[str, Path]:
    """Name of a sink -> the file that it was asked to write."""
    given = {sink.name: vars(option)[f"ft_{sink.name}"] for sink in SINKS}
    return {name: directory / path for name, path in given.items() if path}


def receipt_settings(option: Any, directory: Path, candidate: Path, base: Path) -> ReceiptSettings | None:
    """The receipt that was asked for; None where none was. Raises Unusable, also for reports in the base's folder."""
    places = {"receipt": directory / option.ft_receipt} if option.ft_receipt else {}
    for name, path in (places | outputs_of(option, directory)).items():
        if path.resolve().is_relative_to(base.resolve()):
            raise Unusable(f"--ft-{name} would lie in the folder of the base. Fix: write it elsewhere")
    if not option.ft_receipt:
        if option.ft_sign_key:
            raise Unusable("--ft-sign-key signs a receipt, and none was asked for. Fix: add --ft-receipt=FILE")
        return None
    if option.ft_verdict == "off":
        raise Unusable("--ft-receipt holds a verdict, and --ft-verdict=off gives none. Fix: leave one of them out")
    key = directory / option.ft_sign_key if option.ft_sign_key else None
    if key is not None:
        if candidate in key.resolve().parents:
            raise Unusable("--ft-sign-key lies in the candidate's directory and would be deployed. Fix: move it away")
        try:
            dsse.load_private(key)
        except dsse.KeyFileError as error:
            raise Unusable(f"--ft-sign-key: {error}") from None
    return ReceiptSettings(directory / option.ft_receipt, option.ft_receipt_days, key)


def _check_places(places: dict[str, Path], candidate: Path | None) -> None:
    """Each file has a place of its own, and none becomes a part of what is judged."""
    seen: dict[Path, str] = {}
    inside = _resolved("--ft-model", candidate) if candidate else None
    for name, path in places.items():
        place = _resolved(name, path)
        if place in seen:
            raise Unusable(f"{name} and {seen[place]} name the same file. Fix: name two files")
        seen[place] = name
        if inside and place.is_relative_to(inside) and files.counts(place.relative_to(inside).as_posix()):
            raise Unusable(
                f"{name} would become a part of the candidate that is judged. Fix: write it elsewhere"
                + (", or call it receipt.intoto.json" if name == "--ft-receipt" else "")
            )


def _resolved(name: str, path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise Unusable(f"{name} cannot be a path. Fix: name a file or directory") from error
