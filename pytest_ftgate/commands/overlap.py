"""`pytest-ftgate overlap TRAIN... --evals FILE`: exit 1 if an example leaked, 0 if none did, 4 on misuse."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_ftgate.commands.common import Parser
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.rows.overlap.find import find_overlaps
from pytest_ftgate.rows.overlap.items import items_of
from pytest_ftgate.rows.overlap.progress import Progress
from pytest_ftgate.rows.overlap.report import OverlapOptions, OverlapReport
from pytest_ftgate.rows.overlap.show import render

_FILES = "training files: .jsonl (.gz, .zst), .json, .csv, .parquet, or a directory of save_to_disk"

CLEAN, LEAKED, UNUSABLE = 0, 1, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    options = OverlapOptions(
        workers=args.workers,
        allow_broken_rows=args.allow_broken_rows,
        rephrase=not args.no_rephrase,
        texts=not args.no_text,
    )
    line = _ProgressLine()
    try:
        report = _check(args, options, line)
        if args.json is not None:
            _write(report, Path(args.json))
    except InputError as err:
        line.clear()
        print(err, file=sys.stderr)
        return UNUSABLE
    except OSError as err:
        line.clear()
        print(f"{args.json}: expected a file that can be written, found: {err.strerror}", file=sys.stderr)
        return UNUSABLE
    line.clear()
    print(render(report))
    if not report.is_judged:
        print("broken rows: repair them, or judge without them with --allow-broken-rows", file=sys.stderr)
        return UNUSABLE
    return LEAKED if report.leaks else CLEAN


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pytest-ftgate overlap", description=__doc__)
    parser.add_argument("train", nargs="+", help=_FILES)
    parser.add_argument("--evals", required=True, metavar="FILE", help="the eval-set file (.eval.yaml)")
    parser.add_argument("--json", metavar="OUT", help="write every finding to this file")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--allow-broken-rows", action="store_true", help="judge although some rows cannot be read")
    parser.add_argument("--no-rephrase", action="store_true", help="do not look for the same content in other words")
    parser.add_argument("--no-text", action="store_true", help="keep texts out of table and JSON")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return value


def _check(args: argparse.Namespace, options: OverlapOptions, line: _ProgressLine) -> OverlapReport:
    return find_overlaps(items_of(load_evalset(Path(args.evals))), args.train, options=options, progress=line.show)


def _write(report: OverlapReport, path: Path) -> None:
    text = json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


class _ProgressLine:
    """One line on a terminal's stderr, rewritten; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, progress: Progress) -> None:
        """Print where the work is."""
        if not sys.stderr.isatty():
            return
        of = f" of {progress.total:,}" if progress.total else ""
        left = f", {progress.seconds_left:.0f} s left" if progress.seconds_left is not None else ""
        print(f"\r\033[K{progress.stage}: {progress.done:,}{of} rows{left}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Wipe the line."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False
