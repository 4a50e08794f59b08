"""Overlap detection, measured: what is found, what is called a leak wrongly, and what it costs.

python -m benchmarks.overlap            everything (several minutes); writes docs/measured/overlap.md
python -m benchmarks.overlap --quick    a small version of everything; prints only
python -m benchmarks.overlap --dev      quality on the seeds that thresholds were chosen on; prints only
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from benchmarks.overlap_data import Case, Suite, paraphrases, suites
from benchmarks.overlap_rules import RULES
from benchmarks.overlap_speed import examples, measure, scikit_learn, write_rows
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.rows.overlap import Finding, Item, OverlapReport, find_overlaps
from pytest_ftgate.rows.overlap.baseline import rate
from pytest_ftgate.rows.types import TrainingRow

DEV_SEEDS, HOLD_OUT_SEEDS = (1, 3), (101, 102)
OWN = 24  # own tokens from which on a copy can be told from chance
OURS = "ours"
DOC = Path(__file__).parent.parent / "docs" / "measured" / "overlap.md"


@dataclass(slots=True)
class Tally:
    """Flagged and asked examples."""

    flagged: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (group, rule)."""
    asked: Counter[str] = field(default_factory=Counter)
    """By group."""
    classes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By group, the classes that we gave."""

    def add(self, group: str, flags: dict[str, bool], class_: str) -> None:
        """Count one example."""
        self.asked[group] += 1
        self.classes[group][class_] += 1
        for rule, flagged in flags.items():
            self.flagged[group, rule] += flagged

    def cell(self, group: str, rule: str) -> str:
        """Share of the group that a rule flags."""
        return f"{self.flagged[group, rule] / self.asked[group]:.3f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dev", action="store_true")
    args = parser.parse_args(argv)
    size = (300, 50, 3) if args.quick else (2000, 300, 25)
    seeds = DEV_SEEDS if args.dev else HOLD_OUT_SEEDS[:1] if args.quick else HOLD_OUT_SEEDS
    parts = [_INTRODUCTION, *_quality(seeds, *size), *_rephrased(seeds, quick=args.quick)]
    if not args.dev:
        parts += _speed(quick=args.quick)
    text = "\n\n".join(parts) + "\n"
    print(text)
    if not args.quick and not args.dev:
        DOC.parent.mkdir(exist_ok=True)
        DOC.write_text(text, encoding="utf-8")


def _quality(seeds: Sequence[int], n_rows: int, n_clean: int, n_planted: int) -> Iterator[str]:
    long, short, clean = Tally(), Tally(), Tally()
    natural: list[list[object]] = []
    for seed in seeds:
        for suite in suites(seed, n_rows=n_rows, n_clean=n_clean, n_planted=n_planted):
            report = _find(suite)
            _count(suite, report, long, short, clean)
            if report.baseline is not None:
                found = report.baseline.training
                natural.append([seed, suite.name, f"{found.value:.3f}", len(suite.rows), f"{report.seconds:.1f}"])
    rules = [OURS, *RULES]
    yield f"## Found: planted examples of at least {OWN} own tokens\n\nShare flagged as a leak, {_seeds(seeds)}."
    yield _table(
        [
            [kind, long.asked[kind], _interval(long, kind), *(long.cell(kind, r) for r in rules)]
            for kind in sorted(long.asked)
        ],
        ["planted as", "n", "ours, 95 % interval", *rules],
    )
    yield "## Called a leak wrongly: clean examples\n\nNone of these was planted; the rows are of the same kind."
    yield _table(
        [
            [name, clean.asked[name], _interval(clean, name), *(clean.cell(name, r) for r in rules)]
            for name in sorted(clean.asked)
        ],
        ["suite", "n", "ours, 95 % interval", *rules],
    )
    yield _SHORT
    yield _table(
        [
            [*group.split(" | "), n, *(short.cell(group, r) for r in rules), _classes(short.classes[group])]
            for group, n in sorted(short.asked.items())
        ],
        ["suite", "planted as", "n", *rules, "classes that we gave"],
    )


def _count(suite: Suite, report: OverlapReport, long: Tally, short: Tally, clean: Tally) -> None:
    inputs, rows = [c.input for c in suite.cases], [a for a, _ in suite.rows]
    flagged = {name: rule(inputs, rows) for name, rule in RULES.items()}
    found = {f.example_id: f for f in report.findings if f.where != "output"}
    for i, case in enumerate(suite.cases):
        finding = found.get(case.id)
        flags = {name: i in those for name, those in flagged.items()} | {OURS: finding is not None and finding.is_leak}
        class_ = finding.class_ if finding else "none"
        if not case.planted:
            clean.add(suite.name, flags, class_)
            clean.add("all", flags, class_)
        elif case.own >= OWN:
            long.add(case.planted, flags, class_)
        if case.own < OWN:
            short.add(f"{suite.name} | {case.planted or 'clean'}", flags, class_)


def _rephrased(seeds: Sequence[int], *, quick: bool) -> Iterator[str]:
    rows = []
    for seed in seeds:
        n_rows, n_clean, n_planted = (400, 100, 20) if quick else (3000, 500, 150)
        suite = paraphrases(seed, n_rows=n_rows, n_clean=n_clean, n_planted=n_planted)
        report = _find(suite)
        found: dict[str, Finding] = {f.example_id: f for f in report.findings if f.where != "output"}
        for name, cases in (
            ("paraphrases", [c for c in suite.cases if c.planted]),
            ("clean", [c for c in suite.cases if not c.planted]),
        ):
            classes = [found[c.id].class_ if c.id in found else "none" for c in cases]
            flagged = sum(c in ("exact", "near", "rephrased") for c in classes)
            result = rate(flagged, len(cases))
            interval = f"[{result.interval[0]:.3f}, {result.interval[1]:.3f}]"
            rows.append([seed, name, len(cases), f"{result.value:.3f}", interval, _classes(Counter(classes))])
    yield _REPHRASE
    yield _table(rows, ["seed", "examples", "n", "reported", "95 % interval", "classes"])


def _speed(*, quick: bool) -> Iterator[str]:
    rows: list[list[object]] = []
    plan = [(2_000, 100, 1), (10_000, 1000, 1)] if quick else _PLAN
    with tempfile.TemporaryDirectory() as directory:
        written: dict[int, Path] = {}
        for n_rows, n_examples, workers in plan:
            if n_rows not in written:
                written[n_rows] = Path(directory) / f"{n_rows}.jsonl"
                tokens = write_rows(written[n_rows], n_rows, examples(1000))
            rows.append(_speed_row(OURS, n_rows, n_examples, workers, measure(written[n_rows], n_examples, workers)))
        for n_rows in [min(written)] if quick else [10_000, 100_000]:
            for name, found in scikit_learn(written[n_rows], 1000).items():
                rows.append(_speed_row(name, n_rows, 1000, 1, found))
    yield _SPEED.format(tokens=tokens, machine=f"Python {platform.python_version()}, {platform.machine()}")
    yield _table(rows, ["rule", "rows", "examples", "processes", "CPU s", "µs per row", "wall s", "peak MiB"])


_PLAN = [
    (10_000, 1000, 1),
    (100_000, 100, 1),
    (100_000, 1000, 1),
    (100_000, 10_000, 1),
    (1_000_000, 1000, 1),
    (1_000_000, 1000, 2),
]


def _speed_row(rule: str, n_rows: int, n_examples: int, workers: int, found: dict[str, float]) -> list[object]:
    cpu = found["cpu"]
    return [rule, f"{n_rows:,}", f"{n_examples:,}", workers, f"{cpu:.1f}", f"{cpu / n_rows * 1e6:.0f}",
            f"{found['wall']:.1f}", f"{found['mib']:.0f}"]  # fmt: skip


def _find(suite: Suite) -> OverlapReport:
    rows = [
        TrainingRow(suite.name, i, (Message("user", a), Message("assistant", b)), "prompt_completion")
        for i, (a, b) in enumerate(suite.rows, 1)
    ]
    return find_overlaps([_item(c) for c in suite.cases], rows)


def _item(case: Case) -> Item:
    return Item(case.id, case.input, case.output)


def _interval(tally: Tally, group: str) -> str:
    low, high = rate(tally.flagged[group, OURS], tally.asked[group]).interval
    return f"[{low:.3f}, {high:.3f}]"


def _classes(found: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in found.most_common(5))


def _seeds(seeds: Sequence[int]) -> str:
    return f"seeds {', '.join(map(str, seeds))}"


def _table(rows: list[list[object]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


_INTRODUCTION = f"""# Overlap detection, measured

Written by `python -m benchmarks.overlap`; every number below comes from one run of it. The data are made by
`benchmarks/overlap_data.py`: a made-up language for each seed (invented content words with Zipf frequencies, English
function words and sentence frames), eight kinds of tasks. Rows and clean examples of a task come from the same
distribution. Thresholds were chosen on the seeds {DEV_SEEDS}; the tables are of the hold-out seeds {HOLD_OUT_SEEDS}.
Not fully blind: an early quick run showed the first hold-out seed before the rules for short texts were final.

Rules beside ours, each computed exactly: one shared word 13-gram; 8-grams of one row covering more than half of the
example; Jaccard similarity of word 5-grams of at least 0.7 (what MinHash approximates); cosine of character 4-gram
TF-IDF of at least 0.8. *Own tokens* are those that are not shared instruction or template."""

_SHORT = f"""## Short examples: fewer than {OWN} own tokens

Here no rule can be right every time: another query of the same kind differs by a word, and so does an edited copy.
We call `exact` and convincing `near` copies leaks and list the rest as `short`, `partial` or `template`; the
pseudo-eval baseline says how much overlap is natural, and `excess_only` gates on what goes beyond it."""

_REPHRASE = """## The rephrase channel

Paraphrases in which numbers and answer survive: other wording of every sentence, some order changed, 30 % of the
content words replaced by synonyms. Reported means `rephrased` (advisory), `near` or `exact`."""

_SPEED = """## Cost

Chat rows of {tokens:.0f} tokens on average, everything included: counting, reading JSON, sample, scan, pseudo-eval,
rephrase channel, alignment of candidates. {machine}. CPU seconds are summed over processes, memory is that of the
largest. scikit-learn: word 3-gram and character 4-gram TF-IDF, with a sparse product, which give candidates only."""


if __name__ == "__main__":
    main()
