"""`pytest-ftgate split ROWS... --out DIR`: divide rows into train.jsonl and held_out.jsonl, with a report.

Rows that repeat one another, word for word or nearly, go to the same side, and so do rows of one cluster: what is held
out was not trained on. A text that 1 % of the rows share (and five) counts as a prompt, not as a copy: name families of
such rows with --cluster. Lines are copied as they are. Exit 0: written; 4: the rows cannot be used; 1: they cannot
be written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_ftgate.commands.common import Parser
from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.disk import opened, write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import MAX_PROBLEMS, read_jsonl
from pytest_ftgate.files.wording import brief, describe, key, listed, shown
from pytest_ftgate.rows.overlap.items import Item
from pytest_ftgate.rows.reader import training_row
from pytest_ftgate.rows.split import Split, hold_out

WRITTEN, FAILED, UNUSABLE = 0, 1, 4
TRAIN, HELD_OUT, REPORT = "train.jsonl", "held_out.jsonl", "split.json"
_SHOWN_STRATA = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One row of an input file."""

    path: Path
    number: int
    """1-based."""
    raw: bytes
    """As it stands in the file, with a newline at its end."""
    row: dict[str, Json]
    item: Item


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    try:
        _require_free(args.out)
        lines = [line for path in _distinct(args.rows) for line in _read(path, args.input)]
        split = hold_out(
            [line.item for line in lines],
            args.held_out,
            seed=args.seed,
            strata=None if args.stratify is None else _strata(lines, args.stratify),
            clusters=None if args.cluster is None else _values(lines, args.cluster),
        )
        report = _write(args, lines, split)
    except InputError as err:
        print(err, file=sys.stderr)
        return UNUSABLE
    except OSError as err:
        print(f"{shown(args.out)}: expected a directory that can be written, found: {err.strerror}", file=sys.stderr)
        return FAILED
    print(_told(args, report, split))
    return WRITTEN


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pytest-ftgate split", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS.jsonl", help="files of rows, one object a line")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new directory for the three files")
    parser.add_argument("--held-out", type=_share, default=0.1, metavar="SHARE", help="share to hold out (default 0.1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another division (default 0)")
    parser.add_argument(
        "--stratify",
        metavar="FIELD",
        help="hold out the same share of each value: a field of the rows, `answer` (the answer of a training row), or "
        "`answer.KEY` (a key of an answer that is a JSON object)",
    )
    parser.add_argument("--cluster", metavar="FIELD", help="rows with the same value of this field stay together")
    parser.add_argument(
        "--input",
        action="append",
        metavar="FIELD",
        help="the field that is asked, where the rows are no training rows; may be repeated",
    )
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, found {text[:20]!r}")
    return value


def _require_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        found = "one with files in it" if out.is_dir() else "a file"
        what = f"expected a new or an empty directory, found {found}"
        raise InputError([Problem(shown(out), None, "--out", what, "name another one: a split is never overwritten")])


def _distinct(paths: Sequence[Path]) -> list[Path]:
    twice = sorted({shown(path) for i, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:i]]})
    if twice:
        raise InputError([Problem(twice[0], None, "", "expected each file once, found it again", "name it once")])
    other = [path for path in paths if path.suffix.lower() not in (".jsonl", ".ndjson")]
    if other:
        what = f"expected files that end in .jsonl or .ndjson, found {brief(other[0].name)}"
        raise InputError([Problem(shown(other[0]), None, "", what, "convert it: lines are copied as they are")])
    return list(paths)


def _read(path: Path, fields: Sequence[str] | None) -> list[Line]:
    rows = dict(read_jsonl(path))
    lines, problems = [], []
    with opened(path) as stream:
        for number, raw in enumerate(stream, 1):
            if number not in rows:  # a blank line
                continue
            item = _item(path, number, rows[number], fields)
            if isinstance(item, Problem):
                problems.append(item)
            else:
                text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                lines.append(Line(path, number, text if text.endswith(b"\n") else text + b"\n", rows[number], item))
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    if not lines:
        raise InputError([Problem(shown(path), None, "", "expected rows, found none", "write one object a line")])
    return lines


def _item(path: Path, number: int, row: dict[str, Json], fields: Sequence[str] | None) -> Item | Problem:
    if fields is None:
        found = training_row(shown(path), number, row)
        if isinstance(found, Problem):
            fix = f"{found.fix}; or name the field that is asked with --input"
            return Problem(found.path, found.line, found.key, found.what, fix)
        return Item("", found.input, found.output)
    parts = [row.get(name) for name in fields]
    for name, value in zip(fields, parts, strict=True):
        if not isinstance(value, str) or not value.strip():
            what = f"expected a text in {key(name)}, found {describe(value)}"
            return Problem(shown(path), number, key(name).strip("`"), what, "correct the row, or name another --input")
    return Item("", "\n".join(str(part) for part in parts), None)


def _strata(lines: Sequence[Line], field: str) -> list[str]:
    """The stratum of each line, in words."""
    if field == "answer" and all("answer" not in line.row for line in lines):
        values: list[Json] = [line.item.output for line in lines]
    elif field.startswith("answer.") and all(field not in line.row for line in lines):
        values = _in_answers(lines, field.removeprefix("answer."))
    else:
        values = _values(lines, field)
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]


def _in_answers(lines: Sequence[Line], name: str) -> list[Json]:
    values, problems = [], []
    for line in lines:
        try:
            answer = json.loads(line.item.output or "")
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and answer.get(name) is not None:
            values.append(answer[name])
            continue
        what = f"expected an answer that is a JSON object with {key(name)}, found another one"
        problems.append(Problem(shown(line.path), line.number, "", what, "stratify by a field that every row has"))
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return values


def _values(lines: Sequence[Line], field: str) -> list[Json]:
    """A text, number or truth value of each line."""
    missing = [line for line in lines if not isinstance(line.row.get(field), str | int | float | bool)]
    if missing:
        known = sorted({name for line in lines[:1000] for name in line.row})
        fix = f"name a field that every row has (found: {listed([key(name) for name in known])})"
        raise InputError(
            Problem(
                shown(line.path),
                line.number,
                key(field).strip("`"),
                f"expected a text or a number, found {describe(line.row.get(field))}",
                fix,
            )
            for line in missing[:MAX_PROBLEMS]
        )
    return [line.row[field] for line in lines]


def _write(args: argparse.Namespace, lines: Sequence[Line], split: Split) -> dict[str, Json]:
    """Write the three files beside `--out` and give them their name in one step; returns the report."""
    held = set(split.held)
    partial = args.out.with_name(f".{args.out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for name, chosen in ((TRAIN, False), (HELD_OUT, True)):
            with (partial / name).open("wb") as file:
                file.writelines(line.raw for i, line in enumerate(lines) if (i in held) is chosen)
                file.flush()
                os.fsync(file.fileno())
        report = _report(args, lines, split, partial)
        write_text(partial / REPORT, json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
        os.rename(partial, args.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _report(args: argparse.Namespace, lines: Sequence[Line], split: Split, written: Path) -> dict[str, Json]:
    rows = {TRAIN: len(lines) - len(split.held), HELD_OUT: len(split.held)}
    return {
        "version": 1,
        "inputs": [
            {"path": shown(path), "sha256": file_sha256(path), "rows": sum(1 for line in lines if line.path == path)}
            for path in args.rows
        ],
        "seed": args.seed,
        "stratify": args.stratify,
        "cluster": args.cluster,
        "input": args.input,
        "asked": args.held_out,
        "obtained": len(split.held) / len(lines),
        "written": [{"path": n, "sha256": file_sha256(written / n), "rows": rows[n]} for n in (TRAIN, HELD_OUT)],
        "groups": split.groups,
        "kept_together": split.together,
        "largest_group": split.largest,
        "strata": [asdict(stratum) for stratum in split.strata] if args.stratify else [],
        "check": {"leaks": 0, "rounds": split.rounds},
    }


def _told(args: argparse.Namespace, report: dict[str, Json], split: Split) -> str:
    from tabulate import tabulate

    rows = sum(file["rows"] for file in report["inputs"])
    together = f"{split.together} rows are kept together with others (copies, near copies, clusters)"
    text = [
        f"rows      {rows} in {listed([file['path'] for file in report['inputs']], limit=4)}",
        f"groups    {split.groups}; {together} (the largest has {split.largest})",
        f"train     {rows - len(split.held)} to {shown(args.out / TRAIN)}",
        f"held out  {len(split.held)} ({report['obtained']:.2%}; asked: {args.held_out:.2%}) to "
        f"{shown(args.out / HELD_OUT)}",
        "check     0 held-out rows stand in the training rows, by the search of the overlap gate",
    ]
    if args.stratify:
        table = [[brief(one.name), one.rows, one.held, f"{one.held / one.rows:.1%}"] for one in split.strata]
        text += ["", tabulate(table[:_SHOWN_STRATA], [brief(args.stratify), "rows", "held out", "share"])]
        if len(table) > _SHOWN_STRATA:
            text.append(f"... {len(table)} in all: {shown(args.out / REPORT)}")
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(main())
