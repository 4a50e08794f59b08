"""`pytest-ftgate plan EVALS...`: what each gate can show with its examples, before a model is loaded.

Exit 0 if every gate can pass, 1 if one cannot, 4 if an eval set cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from pytest_ftgate import stats
from pytest_ftgate.commands.common import Parser, root_of, share
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.discovery import named_files
from pytest_ftgate.evalset.kinds import KINDS, KindRow
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.examples_needed import exact_percent, exact_points
from pytest_ftgate.gates.noise import Noise, newest_noise, noise_of, read_calibration
from pytest_ftgate.gates.power import FLIPS, GAIN, Assumed, Question, slices_too_small, why_not
from pytest_ftgate.gates.preconditions import check_usable
from pytest_ftgate.model.identity import resolve_base
from pytest_ftgate.trust.attempts.counting import alpha_at

CAN, CANNOT, UNUSABLE = 0, 1, 4
MARGINS = (0.01, 0.02, 0.03, 0.05, 0.10)
TITLES = ("gate", "n", "bound", "can pass", "at least needed", "strictest bound", "assumed", "power", "n for {power}")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one gate before the run."""

    question: Question
    assumed: Assumed
    power: float | None
    """Chance to pass under the assumption; None where graded scores decide."""
    examples: int | None
    """Examples for the power asked for."""
    noise: Noise | None = None
    """What `pytest-ftgate calibrate` measured on these examples."""
    slices: str = ""
    """Why a slice with a bound of its own keeps the gate from passing. Empty where none does."""

    @property
    def why_not(self) -> str:
        """Why the gate cannot pass. Empty where it can."""
        return why_not(self.question) or self.slices


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    try:
        evalsets = [_load(path) for path in named_files(args.evals)]
        measured = _measured(evalsets, args.base)
    except (InputError, FtgateError) as err:
        print(err, file=sys.stderr)
        return UNUSABLE
    except OSError as err:
        print(f"{err.filename}: expected a file that can be read, found: {err.strerror}", file=sys.stderr)
        return UNUSABLE
    rows = [row for evalset in evalsets for row in _rows(evalset, measured.get(evalset.name), args)]
    if args.json is not None:
        try:
            write_text(Path(args.json), json.dumps(_to_json(rows, args), indent=2, allow_nan=False) + "\n")
        except OSError as err:
            print(f"{args.json}: expected a file that can be written, found: {err.strerror}", file=sys.stderr)
            return UNUSABLE
    print(_render(rows, args))
    for evalset in evalsets:
        if evalset.attempts.spend != "none":
            print(f"{evalset.name}: attempt 1 at alpha {_first(evalset, args.alpha):.3g} ({evalset.attempts.spend})")
    return CAN if not any(row.why_not for row in rows) else CANNOT


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pytest-ftgate plan", description=__doc__)
    parser.add_argument("evals", nargs="+", metavar="EVALS", help="eval-set files, or folders of them")
    parser.add_argument("--alpha", type=share, default=0.05, help="one-sided error rate of each gate (default 0.05)")
    parser.add_argument("--power", type=share, default=stats.PLANNED_POWER, help="chance to plan for (default 0.8)")
    flips = ", ".join(f"{rate:g} for {kind}" for kind, rate in FLIPS.items())
    parser.add_argument(
        "--flip-rate",
        type=share,
        help=f"share of examples on which candidate and reference differ (default {flips})",
    )
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="use the flip rate that `pytest-ftgate calibrate` measured with this base (default: the last one)",
    )
    parser.add_argument("--json", metavar="OUT", help="write the same numbers to this file")
    return parser


def _load(path: Path) -> EvalSet:
    evalset = load_evalset(path)
    check_usable(evalset)
    return evalset


def _measured(evalsets: Sequence[EvalSet], base: str | None) -> dict[str, Noise]:
    """EvalSet name -> noise of this base; without one, of the base that was calibrated last."""
    found = read_calibration(root_of())
    digest = resolve_base(base, Path.cwd()).digest(tuned=False) if base is not None else None
    fitting = {e.name: noise_of(found, e, base=digest) if digest else newest_noise(found, e) for e in evalsets}
    return {name: noise for name, noise in fitting.items() if noise is not None}


def _first(evalset: EvalSet, alpha: float) -> float:
    """What the first attempt on this eval set is judged at; later ones get less, or the same."""
    return alpha_at(evalset.attempts, 1, alpha=alpha)


def _rows(evalset: EvalSet, noise: Noise | None, args: argparse.Namespace) -> list[Row]:
    rows = []
    for gate in evalset.gates:
        if gate.row.test is None:
            continue
        question = Question.of(evalset, gate, _first(evalset, args.alpha))
        assumed = Assumed.of(question, args.flip_rate, noise=noise.flip_rate if noise else 0.0)
        power, examples = assumed.power(question), assumed.examples(question, args.power)
        small = slices_too_small(evalset, gate, question.alpha)
        rows.append(Row(question, assumed, power, examples, noise, small))
    return rows


def _render(rows: Sequence[Row], args: argparse.Namespace) -> str:
    titles = [title.format(power=f"{args.power:.0%}") for title in TITLES]
    table = tabulate([_cells(row) for row in rows], headers=titles, tablefmt="simple", disable_numparse=True)
    parts = [visible(line, limit=400) for line in table.splitlines()]
    parts += ["", *_noise_lines(rows, args)]
    parts += ["", *(f"{row.question.gate}: {why}" for row in rows if (why := row.why_not))]
    whats = {"non_inferiority": "nothing is lost on average", "superiority": "the gain is 10 points more"}
    for kind, what in ((kind, what) for test, what in whats.items() for kind in KINDS.values() if kind.test == test):
        if any(row.question.kind == kind.name for row in rows):
            said = f"examples for {args.power:.0%} power in {kind.name} if {what} (about):"
            parts += ["", said, "", _plan(kind, args)]
    return "\n".join(parts).replace("\n\n\n", "\n\n")


def _noise_lines(rows: Sequence[Row], args: argparse.Namespace) -> list[str]:
    """What was measured of each eval set, and whether the plan rests on it."""
    said = {}
    for row in rows:
        noise = row.noise
        if noise is None or row.question.test == "floor" or noise.evalset in said:
            continue
        given = args.flip_rate is not None
        told = "not used, as --flip-rate is given" if given else "at least so many are assumed to flip"
        which = f"base {noise.base[:12]}" if args.base is not None else f"base {noise.base[:12]}, calibrated last"
        text = f"{noise.evalset}: the base differs from itself on {noise.flip_rate:.1%} of {noise.n}"
        said[noise.evalset] = visible(f"{text} ({noise.changed}, {which}, {noise.time}): {told}", limit=400)
    return list(said.values())


def _cells(row: Row) -> tuple[str, ...]:
    q = row.question
    bound = exact_percent(q.bound) if q.test == "floor" else exact_points(q.bound)
    n = f"{q.n}" if q.unit == "examples" else f"{q.n} {q.unit}"
    unknown = "graded" if not q.exact else "-"
    power = unknown if row.power is None else f"{row.power:.0%}"
    examples = unknown if row.examples is None else f"{row.examples}"
    can = (
        "no"
        if row.slices
        else "yes"
        if q.can_pass
        else "only by improving"
        if q.test == "non_inferiority" and not q.too_few
        else "no"
    )
    return q.gate, n, bound, can, q.least or "-", q.certifiable or "-", row.assumed.words(q), power, examples


def _plan(kind: KindRow, args: argparse.Namespace) -> str:
    """Margin by flip rate; each cell the examples needed, by the normal approximation."""
    gain = GAIN if kind.test == "superiority" else 0.0
    rates = sorted({*kind.flips_planned, args.flip_rate} - {None})
    lines = []
    for margin in MARGINS:
        delta0 = kind.delta0(margin)
        effect = margin + gain if gain else 0.0
        cells = [_examples(delta0, effect, rate, args) for rate in rates]
        lines.append((exact_points(margin), *cells))
    headers = (kind.bound_key(), *(f"{100 * rate:.3g}% flip" for rate in rates))
    return tabulate(lines, headers=headers, tablefmt="simple", disable_numparse=True)


def _examples(delta0: float, effect: float, rate: float, args: argparse.Namespace) -> str:
    if rate < effect:
        return "-"
    found = stats.examples_approximate(delta0=delta0, delta=effect, flip_rate=rate, alpha=args.alpha, power=args.power)
    return "-" if found is None else f"{found}"


def _to_json(rows: Sequence[Row], args: argparse.Namespace) -> dict[str, object]:
    gates = [
        {
            "gate": row.question.gate,
            "n": row.question.n,
            "unit": row.question.unit,
            "bound": row.question.bound,
            "graded": not row.question.exact,
            "alpha": row.question.alpha,
            "best_p": row.question.best_p,
            "can_pass": not row.why_not,
            "slices": row.slices,
            "needed_at_best": row.question.needed_at_best,
            "least": row.question.least,
            "assumed_effect": row.assumed.effect,
            "assumed_flip_rate": row.assumed.flip_rate,
            "power": row.power,
            "examples_for_power": row.examples,
        }
        for row in rows
    ]
    return {"version": 1, "alpha": args.alpha, "power": args.power, "gates": gates}
