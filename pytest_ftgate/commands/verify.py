"""`pytest-ftgate verify`: the question a deploy step asks, and an exit code for each answer."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pytest_ftgate.commands.common import Parser
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.trust.receipt import verify as v

EPILOG = """\
exit codes: 0 yes: a valid SHIP receipt for exactly these bytes · 1 a valid receipt of another verdict ·
30 other files, base or runtime than judged · 31 signature missing, broken or by another key ·
32 policy not approved · 33 expired · 34 no receipt, or none that ftgate wrote · 4 usage error

  pytest-ftgate verify runs/a1 --receipt receipt.json
  pytest-ftgate verify runs/a1 --receipt receipt.json --key ftgate.pub --max-age 30d --copy-to /srv/models/a1
"""
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def main(argv: Sequence[str]) -> int:
    """The exit codes stand in EPILOG."""
    args = verify_parser().parse_args(argv)
    if args.require_signature and not args.key:
        print("error: --require-signature needs the --key that must have signed", file=sys.stderr)
        return v.USAGE
    try:
        answer = v.verify(_request(args))
    except v.UsageError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return v.USAGE
    try:
        _tell(answer, args.adapter, as_json=args.json)
    except OSError as error:  # a full disk, a reader that went away: an answer that nobody got is no yes
        print(f"error: cannot write the answer: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again at its end
        return v.USAGE
    return answer.code


def _tell(answer: v.Answer, adapter: Path, *, as_json: bool) -> None:
    """Raises OSError."""
    if as_json:
        print(json.dumps(v.answer_json(answer), indent=2, sort_keys=True, allow_nan=False), flush=True)
        return
    for check in answer.checks:
        print(f"{'ok' if check.ok else 'FAILED':7} {check.name:10} {check.text}")
    failed = ", ".join(check.name for check in answer.checks if not check.ok)
    name = visible(adapter.resolve().name)
    print(f"yes: {name} may ship" if answer.code == v.YES else f"no ({answer.code}): {failed}", flush=True)


def verify_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(
        prog="pytest-ftgate verify",
        description="Ask whether a receipt says SHIP for exactly the files of this directory.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("adapter", type=Path, metavar="DIR", help="directory of the candidate that is to be deployed")
    add("--receipt", type=Path, required=True, metavar="FILE", help="what --ft-receipt wrote")
    add("--key", type=Path, action="append", default=[], metavar="PEM", help="public key that must have signed; again")
    add("--require-signature", action="store_true", help="refuse a plain receipt (--key alone does that as well)")
    add("--policy-digest", type=_sha256, action="append", default=[], metavar="D", help="an approved policy; again")
    add("--policy", type=Path, metavar="FILE", help="the ftgate.toml that must have been used")
    add("--base", type=Path, metavar="DIR", help="the base that is served: its files must be those judged")
    add("--max-age", type=_span, metavar="30d", help="oldest receipt accepted: a number and m, h or d")
    add("--runtime", type=_pairs, default={}, metavar="K=V,...", help="what is served: dtype=bfloat16,quantize=none")
    add("--copy-to", type=Path, metavar="DIR", help="copy the files while checking them; DIR appears only on yes")
    add("--json", action="store_true", help="print the checks as JSON")
    return parser


def _request(args: argparse.Namespace) -> v.Request:
    return v.Request(
        adapter=args.adapter,
        receipt=args.receipt,
        now=datetime.now(UTC),
        policies=args.policy_digest,
        policy_file=args.policy,
        base=args.base,
        max_age=args.max_age,
        keys=args.key,
        runtime=args.runtime,
        copy_to=args.copy_to,
    )


def _sha256(text: str) -> str:
    digest = text.removeprefix("sha256:").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise argparse.ArgumentTypeError(f"expected a sha256 of 64 hex digits, found {text[:80]!r}")
    return digest


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time span like 30d, 12h or 90m, found {text[:40]!r}")
    return int(found[1]) * UNITS[found[2]]


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    names = [key for key, _, _ in pairs]
    if not all(key and value for key, _, value in pairs) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE,KEY=VALUE with each key once, found {text[:80]!r}")
    return {key: value for key, _, value in pairs}
