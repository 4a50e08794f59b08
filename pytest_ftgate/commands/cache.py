"""`pytest-ftgate cache`: what the stored generations take up, whether they are sound, and how to be rid of them."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_ftgate.answers.store import SideFile, remove, side_files
from pytest_ftgate.commands.common import Parser
from pytest_ftgate.files.own_key import OwnKey, own_key
from pytest_ftgate.run.stored import STORE

SOUND, UNSOUND, UNUSABLE = 0, 1, 4
DAY = 86_400.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, or 1 where `verify` finds a broken line, 4 where there is no such folder."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.older_than and args.action != "clear":
        parser.error(f"--older-than is for clear; {args.action} looks at everything")
    if not args.root.is_dir():
        print(f"{args.root}: expected a folder with stored generations, found none", file=sys.stderr)
        return UNUSABLE
    key = own_key(args.root)
    files = side_files(args.root, key.secret)
    if not files:
        print(f"nothing is stored in {args.root}")
        return SOUND
    if args.action == "clear":
        return _clear([f for f in files if time.time() - f.used >= args.older_than * DAY])
    print(_table(files))
    broken = sum(file.rejected for file in files)
    if args.action == "verify":
        print(_soundness(broken, key))
        return UNSOUND if broken else SOUND
    return SOUND


def _soundness(broken: int, key: OwnKey) -> str:
    if key.secret is None:
        return f"no line can be authenticated here, and none is used: {key.why}"
    lines = "1 line is" if broken == 1 else f"{broken} lines are"
    told = f"{lines} not sound (cut off, changed, or of another key); what they held is generated again"
    return told if broken else "every line was written by this user, and is as it was"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pytest-ftgate cache", description=__doc__)
    help_text = "info: files and sizes; verify: also exit 1 where a line is not sound; clear: remove them"
    parser.add_argument("action", choices=("info", "verify", "clear"), help=help_text)
    parser.add_argument("--root", type=Path, default=STORE, metavar="DIR", help=f"the folder (default: {STORE})")
    older = "clear only what was not used for so many days (default 0: all)"
    parser.add_argument("--older-than", type=_days, default=0.0, metavar="DAYS", help=older)
    return parser


def _days(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 <= (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(f"expected a number of days, 0 or more, found {text!r}")


def _table(files: Sequence[SideFile]) -> str:
    from tabulate import tabulate

    rows = [
        [file.path.stem[:12], f"{file.entries:,}", file.rejected, f"{file.bytes / 2**20:.1f}", _ago(file.used)]
        for file in files
    ]
    total = sum(file.bytes for file in files) / 2**20
    table = tabulate(rows, ["side", "generations", "broken lines", "MiB", "last used"], disable_numparse=True)
    return f"{table}\n\n{len(files)} sides, {total:.1f} MiB"


def _ago(when: float) -> str:
    days = max(0.0, time.time() - when) / DAY
    return "today" if days < 1 else f"{days:.0f} days ago"


def _clear(files: Sequence[SideFile]) -> int:
    for file in files:
        try:
            remove(file.path)
        except OSError as error:
            why = "another process holds it" if isinstance(error, TimeoutError) else error.strerror
            print(f"{file.path}: cannot be removed: {why}", file=sys.stderr)
            return UNUSABLE
    print(f"removed {len(files)} sides, {sum(file.bytes for file in files) / 2**20:.1f} MiB")
    return SOUND
