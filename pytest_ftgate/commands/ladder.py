"""`pytest-ftgate ladder EVALS... --base DIR`: before any training, is there a gap left that a prompt does not close?"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.hf_load import Settings
from pytest_ftgate.answers.prompting import CANDIDATE, System, build_prompts
from pytest_ftgate.answers.stage import Progress, Work, run_stage
from pytest_ftgate.commands.common import Parser, add_base_options, root_of, share
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.discovery import named_files
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.own_key import own_key
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.given import clusters_of, scores_of, unit_of
from pytest_ftgate.gates.ladder import Answer, Assessment, Climbed, Goal, assess
from pytest_ftgate.gates.preconditions import check_usable
from pytest_ftgate.model.identity import resolve_base
from pytest_ftgate.report.progress import progress_line
from pytest_ftgate.results import Generation
from pytest_ftgate.run.stored import STORE
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.scorers import needed_labels
from pytest_ftgate.trust.attempts.ledger import begin_ledger

UNUSABLE = 4
EXIT_CODES: Mapping[Answer, int] = {"FINE_TUNE": 0, "PROMPT_ENOUGH": 1, "KNOWLEDGE": 1, "TOO_FEW": 20}
_EPILOG = """\
Every rung under `baselines:` of an eval set is asked of the base model. The goal is the eval set's own: accuracy.min
and format.min_rate; without an accuracy gate, the score above which no candidate can gain beats_baseline.min_gain.
Answers are stored in .ftgate/cache: a gate that is judged later asks the base nothing again.

exit codes: 0 a gap is left (in one eval set, at least) · 1 a prompt, or retrieval, is enough in every one ·
20 too few examples to say · 4 an input cannot be used
"""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The ladder of one eval set."""

    evalset: EvalSet
    found: Assessment
    task_tokens: float
    """Mean tokens of the task prompt: what a call to a fine-tuned model would cost."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    root = root_of(args.root)
    try:
        ladders = climb(args, root)
        if args.json is not None:
            write_text(args.json, _json(ladders))
    except (InputError, FtgateError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        print(f"{args.json}: cannot be written: {error.strerror or error}", file=sys.stderr)
        return UNUSABLE
    print("\n\n".join(_told(ladder) for ladder in ladders))
    answers = {ladder.found.answer for ladder in ladders}
    decisive: Answer = next(a for a in ("FINE_TUNE", "TOO_FEW", "KNOWLEDGE", "PROMPT_ENOUGH") if a in answers)
    return EXIT_CODES[decisive]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pytest-ftgate ladder",
        description="Before any training: measure zero-shot, few-shot and retrieval on the base, and say what is left.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_base_options(parser)
    parser.add_argument("--quantize", default="none", choices=("none", "nf4"), help="nf4: weights in 4 bits")
    parser.add_argument("--goal", type=share, metavar="SCORE", help="score to reach, instead of the eval set's own")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the measurements and answers to this file")
    return parser


def climb(args: argparse.Namespace, root: Path) -> list[Ladder]:
    """Ask every rung of every eval set that has any. Raises InputError and FtgateError."""
    evalsets = [load_evalset(path) for path in named_files(args.evals)]
    with_rungs = [evalset for evalset in evalsets if evalset.baselines]
    if not with_rungs:
        raise FtgateError("no eval set here has `baselines:`, so there is no rung to climb", "add them to an eval set")
    goals = [_goal(evalset, args.goal) for evalset in with_rungs]
    for evalset in with_rungs:
        check_usable(evalset)
    base = resolve_base(args.base, Path.cwd())
    engine = HFEngine(base, Settings(args.device, args.dtype, args.quantize, args.batch_size))
    with contextlib.suppress(OSError):  # the store cannot be written either, and says so
        begin_ledger(root)  # or the answers stored now would look like those of a ledger that was removed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch and its kin are not the user's
        return list(ladders_of(with_rungs, goals, engine, root / STORE, own_key(root).secret, base.check_unchanged))


def ladders_of(
    evalsets: Sequence[EvalSet],
    goals: Sequence[Goal],
    engine: HFEngine,
    store_root: Path | None,
    store_key: bytes | None,
    unchanged: Callable[[], None] = lambda: None,
) -> list[Ladder]:
    """One ladder for each eval set; `unchanged` as in run_stage.

    Raises FtgateError, also where a prompt could not be answered.
    """
    work = [Work(e, (), needed_labels(e.scorer) if e.scorer else (), systems=tuple(_systems(e))) for e in evalsets]
    line = _ProgressLine()
    result = run_stage(
        work, engine, store_root=store_root, store_key=store_key, cache="base", report=line.show, unchanged=unchanged
    )
    line.clear()
    made = []
    for evalset, goal in zip(evalsets, goals, strict=True):
        answers = result.generations[evalset.name]
        climbed = [_climbed(evalset, system, answers[system.name]) for system in _systems(evalset)]
        tokens = [len(engine.encode(p, tuned=False)) for p in build_prompts(evalset, CANDIDATE).prompts]
        clusters = clusters_of(evalset)
        found = assess(climbed, clusters, goal, unit=unit_of(evalset, clusters))
        made.append(Ladder(evalset, found, fmean(tokens)))
    return made


def _systems(evalset: EvalSet) -> list[System]:
    return [System(f"baseline:{rung.name}", tuned=False, rung=rung) for rung in evalset.baselines]


def _goal(evalset: EvalSet, given: float | None) -> Goal:
    follows = next((gate.bound for gate in evalset.gates if gate.row.reads == "format"), None)
    if given is not None:
        return Goal(given, "--goal", follows)
    scored = {gate.row.test: gate for gate in evalset.gates if gate.row.scores}
    if floor := scored.get("floor"):
        return Goal(floor.bound, f"{floor.kind}.{floor.row.bound_key()}", follows)
    if gain := scored.get("superiority"):
        why = f"above it {gain.kind}.{gain.row.bound_key()} cannot be gained"
        return Goal(1.0 - gain.bound, why, follows)
    raise FtgateError(
        f"{evalset.name} has neither an accuracy nor a beats_baseline gate, so nothing says what is good enough",
        "add one of them, or give --goal=0.85",
    )


def _climbed(evalset: EvalSet, system: System, answers: Mapping[str, Generation]) -> Climbed:
    failed = [e.id for e in evalset.examples if answers[e.id].finish_reason == "error"]
    if failed:
        why = visible(answers[failed[0]].error, limit=200)
        raise FtgateError(
            f"{evalset.name}: {len(failed)} of {len(evalset.examples)} examples could not be answered by {system.name} "
            f"({failed[0]}): {why}",
            "shorten the prompt or its shots, or lower generation.max_new_tokens",
        )
    rung = system.rung
    if rung is None:
        raise ValueError(f"{system.name} has no rung")
    obeys = None
    for gate in evalset.gates:
        if gate.row.reads == "format":
            check = make_format_check(gate.options, base_dir=evalset.path.parent)
            obeys = [check(answers[e.id]).strict for e in evalset.examples]
    scores = [score.value for score in scores_of(evalset, answers)]
    said = [answers[e.id] for e in evalset.examples]
    return Climbed(
        rung.name,
        rung.passages is not None,
        scores,
        obeys,
        fmean(g.prompt_tokens or 0 for g in said),
        fmean(len(g.token_ids) for g in said),
    )


def _told(ladder: Ladder) -> str:
    titles = ["rung", "score", "95% interval", "n", "format", "prompt tokens", "new tokens", "cost of a call"]
    rows = []
    for rung in ladder.found.rungs:
        low, high = rung.rate.interval
        follows = f"{rung.follows.value:.1%}" if rung.follows else ""
        cost = (rung.prompt_tokens + rung.new_tokens) / (ladder.task_tokens + rung.new_tokens)
        row = [visible(rung.name, limit=40), f"{rung.rate.value:.1%}", f"[{low:.1%}, {high:.1%}]", str(rung.rate.n)]
        rows.append([*row, follows, f"{rung.prompt_tokens:.0f}", f"{rung.new_tokens:.0f}", f"x{cost:.1f}"])
    table = tabulate(rows, titles, disable_numparse=True)
    note = f"cost of a call: tokens, against the {ladder.task_tokens:.0f} of the task prompt that a fine-tune is asked"
    return f"{ladder.evalset.name}\n\n{table}\n\n{note}\n{visible(ladder.found.sentence, limit=1000)}"


def _json(ladders: Sequence[Ladder]) -> str:
    content = [{"evalset": x.evalset.name, "task_tokens": x.task_tokens, **asdict(x.found)} for x in ladders]
    return json.dumps({"version": 1, "ladders": content}, indent=2, sort_keys=True, allow_nan=False) + "\n"


class _ProgressLine:
    """One line on a terminal's stderr, rewritten; nothing where stderr is no terminal."""

    def show(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{progress_line(progress)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
