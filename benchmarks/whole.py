"""The whole way of a run, simulated: stage, curtailment, early stopping, slices, leaks, judging and attempts as one.

    python -m benchmarks.whole

writes docs/measured/whole.md. The functions are those of a run; only the answers are drawn.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.tables import Table, rate
from benchmarks.whole_run import Counted, run_whole
from benchmarks.whole_truth import BOUNDS, FEATURES, SWITCHED, Case, draw
from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import EvalSetError
from pytest_ftgate.gates.examples_needed import Shortfall
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.preconditions import check_usable
from pytest_ftgate.results import Verdict
from pytest_ftgate.stats import clopper_pearson, paired

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "measured" / "whole.md"
SEED = 20_260_101
TRIES = 3
SIZES = (20, 37, 60, 101, 200, 203, 333, 1000)
RUNS = {20: 60, 37: 60, 60: 60, 101: 48, 200: 24, 203: 24, 333: 12, 1000: 4}
"""n -> runs of the bad model in each combination at scale 1; a third as many of the good one."""
SHARPEST = 0.99
"""Of the intervals. Some 80 are compared with 5 %: at 95 % some would lie above by chance alone."""
PLANNING = "pytest_ftgate.gates.paired.paired_shortfall"
UNPLANNED = Shortfall("UNDERPOWERED", "not planned", "not planned")
ORDINARY = ("TOO_FEW", "NOTHING_TO_FORGET")
"""Reasons of an ERROR that is right: such a set cannot be judged."""


@dataclass(slots=True)
class Tally:
    """What became of the runs of some cases."""

    runs: int = 0
    passed: int = 0
    refused: int = 0
    """Runs of an eval set that is turned away at loading: what was switched on does not go together."""
    asked: float = 0.0
    """Sum over the runs of the share of the examples that the candidate was asked."""
    stages: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    """Exceptions, and ERRORs for a reason that is not ORDINARY -> how many."""

    def add(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.runs + other.runs,
            self.passed + other.passed,
            self.refused + other.refused,
            self.asked + other.asked,
            self.stages + other.stages,
            self.broken + other.broken,
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson, of the chance to pass."""
        return clopper_pearson(self.passed, self.runs, confidence=SHARPEST)


def simulate(case: Case, runs: int, root: Path, *, seed: int = SEED, planned: int = 1) -> Tally:
    """`runs` developers, each with one eval set and one model, or, with attempts, with up to TRIES models.

    `planned`: in so many runs an INCONCLUSIVE pair is told how many examples would do. That takes longest and decides
    nothing, so the others are told a fixed sentence.
    """
    place = SWITCHED.index(case.switched)
    rng = np.random.default_rng([seed, list(BOUNDS).index(case.kind), place, case.n, case.good])
    found = Tally()
    for run in range(runs):
        found.runs += 1
        folder = root / f"{case.kind}-{place}-{case.n}-{case.good}-{run}"
        try:
            with contextlib.nullcontext() if run < planned else mock.patch(PLANNING, return_value=UNPLANNED):
                _one(case, found, folder, rng)
        except EvalSetError:
            found.refused += 1
        except Exception as error:  # noqa: BLE001 - what is counted here is whether anything at all is raised
            found.broken[f"{type(error).__name__}: {traceback.extract_tb(error.__traceback__)[-1].name}"] += 1
    return found


def _one(case: Case, found: Tally, root: Path, rng: np.random.Generator) -> None:
    counted = "attempts" in case.switched
    drawn = draw(case, TRIES if counted and not case.good else 1, rng)
    check_usable(drawn.asked)
    hypotheses = KINDS[case.kind].hypotheses(1) + bool(drawn.asked.bounded_slices(case.kind))
    chunk = int(rng.integers(5, 48))
    for number, candidate in enumerate(drawn.candidates):
        judge = partial(_judge, drawn.asked, {"candidate": candidate, **drawn.reference}, drawn.leaked, chunk)
        if counted:
            verdicts, result, _ = Counted(drawn.asked, root, hypotheses).judge(f"{number:064d}", judge)
        else:
            verdicts, result = judge(Levels(hypotheses=hypotheses))
        verdict = verdicts[case.kind]
        if result is not None and (answers := result.generations.get("set", {}).get("candidate")):
            found.asked += len(answers) / case.n
            found.stages += 1
        if (broken := _broken(verdict)) is not None:
            found.broken[broken] += 1
        if verdict.outcome == "PASS":
            found.passed += 1
            return


def _judge(
    asked: EvalSet, table: Mapping[str, Sequence[object]], leaked: frozenset[str], chunk: int, levels: Levels
) -> tuple[dict[str, Verdict], StageResult]:
    return run_whole(asked, table, levels=levels, leaked=leaked, chunk=chunk)


def _broken(verdict: Verdict) -> str | None:
    """What is wrong with a Verdict, whatever was drawn; None where nothing is."""
    if verdict.outcome == "ERROR":
        return None if verdict.reason in ORDINARY else f"ERROR {verdict.reason}"
    if verdict.outcome != "PASS" and not verdict.fix:
        return f"{verdict.outcome} without a fix"
    return None


def cases() -> list[Case]:
    """Every combination, the slowest first, so that two processes end together."""
    return [
        Case(kind, switched, n, good)
        for n in reversed(SIZES)
        for kind in BOUNDS
        for switched in SWITCHED
        for good in (False, True)
    ]


def _work(scale: float, planned: int, root: Path, case: Case) -> tuple[Case, Tally]:
    share = scale / (3.0 if case.good else 1.0) / (1.0 if KINDS[case.kind].test else 8.0)
    return case, simulate(case, max(1, round(RUNS[case.n] * share)), root, planned=planned)


def keep_p_values() -> None:
    """Keep every p-value of a pair: the same tables are drawn again and again. The function is the same."""
    paired._paired_p_value = lru_cache(maxsize=None)(paired._paired_p_value.__wrapped__)  # type: ignore[attr-defined]


def run_all(scale: float, processes: int, planned: int) -> dict[Case, Tally]:
    """Every case -> what became of its runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("fork").Pool(processes, initializer=keep_p_values) as pool,
    ):
        return dict(pool.imap_unordered(partial(_work, scale, planned, Path(folder)), cases()))


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for one in tallies:
        total = total.add(one)
    return total


def _row(words: Sequence[str], bad: Tally, good: Tally) -> list[str]:
    if bad.refused == bad.runs:
        return [*words, str(bad.runs), "turned away", "", "", "", "", "0"]
    low, high = bad.interval
    shares = [f"{t.asked / t.stages:.2f}" if t.stages else "" for t in (bad, good)]
    broken = bad.broken + good.broken
    said = str(sum(broken.values()))
    false_ship = (rate(bad.passed / bad.runs), f"{rate(low)} to {rate(high)}")
    return [*words, str(bad.runs), *false_ship, rate(good.passed / good.runs), *shares, said]


HEADERS = ("runs", "false ship", "99 % interval", "good ships", "asked, bad", "asked, good", "exceptions")


def by_switch(found: dict[Case, Tally]) -> Table:
    def pick(kind: str, switched: tuple[str, ...], good: bool) -> Tally:
        return _sum(found[Case(kind, switched, n, good)] for n in SIZES)

    rows = [
        _row([kind, " + ".join(switched) or "nothing"], pick(kind, switched, False), pick(kind, switched, True))
        for kind in BOUNDS
        for switched in SWITCHED
    ]
    text = (
        f"All of n = {', '.join(str(n) for n in SIZES)} together. False ship: a model exactly at the bound passes; "
        f"with attempts, any of {TRIES} such models on the same examples (`spend: harmonic`). With bounded slices, "
        "it is one slice that lies at its bound. With leaks, a tenth of the examples stand in the training data and "
        "are answered right, and the others lie at the bound. For cost, the model takes one token too many; for "
        "overlap, one example too many has leaked: nothing is estimated there, so nothing may ship. Turned away: the "
        "eval set is refused when it is loaded, as these do not go together. Asked: mean share of the examples that "
        "the candidate was asked."
    )
    return Table(
        "Each kind of gate, with everything switched on alone and in pairs", text, ["gate", "on", *HEADERS], rows
    )


def by_size(found: dict[Case, Tally]) -> Table:
    def pick(kind: str, n: int, good: bool) -> Tally:
        kept = [t for c, t in found.items() if (c.kind, c.n, c.good) == (kind, n, good)]
        return _sum(t for t in kept if t.refused < t.runs)

    rows = [[*_row([kind, str(n)], pick(kind, n, False), pick(kind, n, True))] for kind in BOUNDS for n in SIZES]
    return Table("By the number of examples", "The same runs, whatever was switched on.", ["gate", "n", *HEADERS], rows)


def in_short(found: dict[Case, Tally]) -> str:
    """What the tables come to, in a few sentences."""
    judged = {c: t for c, t in found.items() if t.refused < t.runs}
    broken = _sum(judged.values()).broken
    groups = {
        (kind, on): _sum(t for c, t in judged.items() if (c.kind, c.switched, c.good) == (kind, on, False))
        for kind in BOUNDS
        for on in SWITCHED
    }
    proven = [key for key, t in groups.items() if t.runs and t.interval[0] > 0.05]
    above = [f"{kind} with {' + '.join(on) or 'nothing'}" for kind, on in proven]
    (kind, on), worst = max(((k, t) for k, t in groups.items() if t.runs), key=lambda kt: kt[1].passed / kt[1].runs)
    low, high = worst.interval
    runs = sum(t.runs for t in judged.values())
    said = "none" if not broken else "; ".join(f"{what} ({n})" for what, n in broken.most_common(10))
    return (
        f"{runs} runs. Exceptions and unexpected ERRORs: {said}. Combinations whose false-ship rate is proven above "
        f"5 %: {', '.join(above) or 'none'}. Most seen: {rate(worst.passed / worst.runs)} "
        f"({rate(low)} to {rate(high)}), "
        f"{kind} with {' + '.join(on) or 'nothing'} switched on.\n"
    )


def document(found: dict[Case, Tally], scale: float) -> str:
    """The page."""
    head = (
        "# A whole run, simulated\n\n"
        f"Written by `make bench-whole` (`python -m benchmarks.whole`, scale {scale:g}); do not edit by hand.\n"
        f"Made with pytest-ftgate {version('pytest-ftgate')}, seed {SEED}.\n\n"
        "What to ask, asking in rounds, curtailment, early stopping, slices, leaks, judging and the ledger of attempts "
        "are\nthe functions of a run, one after the other; only the answers are drawn. Switched on are: "
        f"{', '.join(FEATURES)}.\n"
    )
    return "\n".join([head, in_short(found), by_switch(found).markdown(), by_size(found).markdown()])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=__doc__)
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where to write (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="runs, as a multiple of the usual number")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--planned", type=int, default=1, help="runs of each combination in which examples are planned")
    options = parser.parse_args()
    found = run_all(options.scale, options.processes, options.planned)
    options.output.write_text(document(found, options.scale), encoding="utf-8")
    print(in_short(found))


if __name__ == "__main__":
    main()
