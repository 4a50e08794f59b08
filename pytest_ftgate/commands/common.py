"""Options and helpers that several verbs share. Standard library only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.run.inifile import ini_above
from pytest_ftgate.run.options import positive_int

MISUSE = 4
"""Exit code of a command line that cannot be understood, as pytest has it."""
DTYPES = ("auto", "float32", "bfloat16", "float16")


class Parser(argparse.ArgumentParser):
    """The parser of every verb. argparse would leave with 2, which means to pytest that a run was interrupted."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end the process with MISUSE."""
        self.print_usage(sys.stderr)
        self.exit(MISUSE, f"{self.prog}: error: {visible(message, limit=1000)}\n")


def add_base_options(parser: argparse.ArgumentParser) -> None:
    """EVALS, --base, and how the base is run."""
    parser.add_argument("evals", nargs="+", metavar="EVALS", help="eval-set files, or directories that hold them")
    parser.add_argument("--base", required=True, metavar="DIR", help="the base: DIR, or ORG/NAME@<40-hex revision>")
    parser.add_argument("--device", default="auto", help="auto (default; cuda if present), cpu, cuda, cuda:1")
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of the weights, as judged")
    parser.add_argument("--batch-size", type=positive_int, default=64, metavar="N", help="as judged (default 64)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where .ftgate lies (default: pytest's root)")


def share(text: str) -> float:
    """A number between 0 and 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text!r}")
    return value


def root_of(given: Path | None = None) -> Path:
    """The folder that `.ftgate` lies in: the one given, else pytest's root, else the current one."""
    if given is not None:
        return given
    ini = ini_above(Path.cwd())
    return ini.parent if ini else Path.cwd()
