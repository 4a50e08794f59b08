"""Thumbs up and down become an eval set and preference pairs.

    python examples/feedback/make_evals.py feedback.jsonl --out evals

Rows: {"id", "prompt", "answer", "rating": "up" | "down", "correction"?, "user"?}. An answer with a thumb up is a
reference, and so is a correction; a bare thumb down says only what is wrong, and is left out. What was asked several
times with the same reference is one example; with different references it is refused, since nobody can be right.
Written: evals/feedback.jsonl, evals/feedback.eval.yaml, and pairs.jsonl beside them (prompt, chosen, rejected) for
`method: dpo`, made from corrections to *other* questions than those of the eval set, so that nothing leaks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import read_jsonl
from pytest_ftgate.files.wording import describe, shown
from pytest_ftgate.rows.overlap import Item
from pytest_ftgate.rows.split import hold_out

EVAL_SET = """\
# Made from user feedback by make_evals.py: a thumb up, or a correction, is the reference.
version: 1
examples: feedback.jsonl
{cluster}prompt: {{user: "{{prompt}}"}}
generation: {{max_new_tokens: 128}}
scorer: similarity                      # chrF: free text has no single right wording
gates:
  overlap: {{max: 0}}
  accuracy: {{min: 0.6}}                  # a mean likeness: look at your own answers before you choose
"""

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("feedback", type=Path)
    parser.add_argument("--out", type=Path, default=Path("evals"))
    parser.add_argument("--pairs", type=float, default=0.0, metavar="SHARE", help="share of questions kept for pairs")
    args = parser.parse_args(argv)
    try:
        if any((args.out / name).exists() for name in ("feedback.jsonl", "feedback.eval.yaml", "pairs.jsonl")):
            raise InputError([Problem(shown(args.out), None, "", "expected no earlier eval set, found one", "move it")])
        examples, pairs = convert(args.feedback, pair_share=args.pairs)
    except InputError as error:
        print(error, file=sys.stderr)
        return 4
    cluster = "cluster: user                           # ratings of one user are not independent\n"
    has_users = all("user" in example for example in examples)
    write_text(args.out / "feedback.jsonl", _lines(examples))
    write_text(args.out / "feedback.eval.yaml", EVAL_SET.format(cluster=cluster if has_users else ""))
    if pairs:
        write_text(args.out / "pairs.jsonl", _lines(pairs))
    print(f"{len(examples)} examples and {len(pairs)} preference pairs in {shown(args.out)}")
    return 0


def convert(path: Path, *, pair_share: float = 0.0) -> tuple[list[Row], list[Row]]:
    """(examples of an eval set, preference pairs). Raises InputError with every row that cannot be used."""
    rows = list(read_jsonl(path))
    problems = [problem for line, row in rows if (problem := _wrong(path, line, row))]
    examples: dict[str, Row] = {}
    for line, row in rows if not problems else ():
        target = row["answer"] if row["rating"] == "up" else row.get("correction")
        if target is None:
            continue
        made = {"id": row["id"], "prompt": row["prompt"], "target": target}
        made |= {"user": row["user"]} if isinstance(row.get("user"), str) else {}
        first = examples.setdefault(" ".join(row["prompt"].split()).casefold(), made)
        if first["target"] != target:
            what = f"expected one reference for a question, found another one than that of {first['id']}"
            problems.append(Problem(shown(path), line, "prompt", what, "decide which is right, and delete the other"))
    if not problems and not examples:
        problems.append(
            Problem(shown(path), None, "", "expected a thumb up or a correction, found none", "collect some")
        )
    if problems:
        raise InputError(problems[:20])
    return _divided(list(examples.values()), [row for _, row in rows], pair_share)


def _divided(examples: list[Row], rows: list[Row], pair_share: float) -> tuple[list[Row], list[Row]]:
    """Questions for the eval set, and pairs from the other questions; what repeats is on one side."""
    if not pair_share:
        return examples, []
    split = hold_out([Item("", row["prompt"], row["target"]) for row in examples], pair_share, seed=0)
    kept_back = {examples[i]["prompt"] for i in split.held}
    pairs = [
        {"prompt": [_turn("user", row)], "chosen": [_turn("correction", row)], "rejected": [_turn("answer", row)]}
        for row in rows
        if row["prompt"] in kept_back and "correction" in row
    ]
    return [row for i, row in enumerate(examples) if i not in split.held], pairs


def _turn(what: str, row: Row) -> dict[str, str]:
    return {"role": "user" if what == "user" else "assistant", "content": row["prompt" if what == "user" else what]}


def _wrong(path: Path, line: int, row: Row) -> Problem | None:
    for name in ("id", "prompt", "answer"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            what = f"expected a text, found {describe(row.get(name))}"
            return Problem(shown(path), line, name, what, "complete or delete the row")
    if row.get("rating") not in ("up", "down"):
        what = f"expected up or down, found {describe(row.get('rating'))}"
        return Problem(shown(path), line, "rating", what, "map your ratings to up and down first")
    if not isinstance(row.get("correction", "x"), str) or not row.get("correction", "x").strip():
        what = f"expected a text, found {describe(row['correction'])}"
        return Problem(shown(path), line, "correction", what, "complete it, or delete the key")
    return None


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
