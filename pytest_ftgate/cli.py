"""`pytest-ftgate`: the verbs around the gate. Each one imports what it needs when it is called."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

from pytest_ftgate import __version__
from pytest_ftgate.commands.common import Parser

INTERRUPTED = 130

VERBS = {
    "ladder": ("commands.ladder", "ask the base with every prompt: is there a gap left to train for?"),
    "plan": ("commands.plan", "say what each gate can show with its examples, before a model is loaded"),
    "train": ("commands.train", "train an adapter from a YAML file and record what it was trained on"),
    "overlap": ("commands.overlap", "find training rows that repeat examples of an eval set"),
    "split": ("commands.split", "divide rows into train and held-out so that what repeats never straddles"),
    "calibrate": ("commands.calibrate", "measure how many answers of the base flip although nothing changed"),
    "verify": ("commands.verify", "ask whether a receipt says SHIP for exactly these files"),
    "cache": ("commands.cache", "show, verify or clear the stored generations"),
}
"""verb -> (module below pytest_ftgate with `main(argv) -> int`, what it does)"""

EPILOG = """\
To judge a model, run pytest itself:
  pytest --ft-model=runs/good evals/

Every verb explains itself: pytest-ftgate VERB --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a verb; its own `main` parses the rest."""
    parser = Parser(
        prog="pytest-ftgate",
        description="Fine-tuning as code under test: what stands around `pytest --ft-model=DIR`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pytest-ftgate {__version__}")
    verbs = "\n".join(f"{verb}: {text}" for verb, (_, text) in VERBS.items())
    parser.add_argument("verb", choices=tuple(VERBS), help=verbs)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks is no reason to break off
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(given[:1])
    try:
        module = importlib.import_module(f"pytest_ftgate.{VERBS[args.verb][0]}")
        return int(module.main(given[1:]))
    except KeyboardInterrupt:
        print(f"\npytest-ftgate {args.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
