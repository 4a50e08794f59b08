"""Simulated adapters through the real gates: how often does one ship that sits exactly at a bound?

    python -m benchmarks.adapters

draws the answers of each adapter example by example, judges them as a run does (eval-set files, overlap, format,
accuracy, beats_baseline, forgetting, bounded slices, run verdict) and writes the table to docs/measured/adapters.md.
Only the model is left out. The A/A rows judge a base model against itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.tables import Table
from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.evalset.discovery import read_files
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.gates.decision import Decision, RunFacts, decide
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.overlap import Overlaps
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.results import Generation, Verdict
from pytest_ftgate.run.judging import judge_gate

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "measured" / "adapters.md"
ALPHA = 0.05
ADAPTERS = 200
EXAMPLES = 200
SEED = 20_260_303
FORMAT, FLOOR, GAIN, DROP, SLICE_FLOOR = 0.9, 0.8, 0.05, 0.05, 0.7
PROMPT = "version: 1\nexamples: {name}.jsonl\nprompt: {{user: '{{q}}'}}\ngeneration: {{max_new_tokens: 8}}\n"
TARGET = f"""\
scorer: {{exact: {{ignore_punctuation: true}}}}
slices: [{{field: language, accuracy: {{min: {SLICE_FLOOR}}}}}]
baselines: {{zero_shot: {{}}}}
gates:
  overlap: {{max: 0, train: [train.jsonl]}}
  format: {{choices: [red, blue, green], min_rate: {FORMAT}}}
  accuracy: {{min: {FLOOR}}}
  beats_baseline: {{min_gain: {GAIN}}}
"""
GENERAL = f"""\
scorer: exact
gates:
  overlap: {{max: 0, train: [train.jsonl]}}
  forgetting: {{max_drop: {DROP}}}
"""
COLOURS = ("red", "blue", "green")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is true of one adapter; every answer is drawn independently."""

    name: str
    format: float = 1.0
    """Chance that an answer obeys the format."""
    right: float = 0.98
    """Chance that an answer is right, in the slices that are not `weak`."""
    baseline: float = 0.5
    """The same of the prompted base."""
    lost: float = 0.0
    """Chance that a general answer which the base gives right is lost."""
    weak: float | None = None
    """Chance to be right in the slice language=de, a quarter of the examples; None: as elsewhere."""
    itself: bool = False
    """The candidate answers as the base does, word for word."""
    bad: bool = True
    """Whether something about it is not good enough: what may ship at most at ALPHA."""


BASE_RIGHT = 0.9
"""Chance that the base answers a general question right."""
ADAPTERS_AT_A_BOUND = (
    Adapter("format exactly at its floor", format=FORMAT),
    Adapter("accuracy exactly at its floor", right=FLOOR),
    Adapter("exactly the smallest gain over the prompt", right=0.95, baseline=0.95 - GAIN),
    Adapter("forgets exactly the largest drop", lost=DROP / BASE_RIGHT),
    Adapter("one slice exactly at its bound", weak=SLICE_FLOOR),
    Adapter("all of these at once", FORMAT, FLOOR, FLOOR - GAIN, DROP / BASE_RIGHT, SLICE_FLOOR),
)
OTHERS = (
    Adapter("A/A: the base against itself", baseline=0.98, itself=True),
    Adapter("A/A: a weak base against itself", baseline=0.6, itself=True),
    Adapter("good in every respect", bad=False),
)


def most_allowed(adapters: int, *, confidence: float = 0.999) -> int:
    """Most of these adapters that ship in 99.9 % of simulations if each ships with a chance of ALPHA."""
    return int(stats.binom.ppf(confidence, adapters, ALPHA))


class Bench:
    """The eval sets on disk, and a run of all of their gates on drawn answers."""

    def __init__(self, folder: Path, *, examples: int = EXAMPLES) -> None:
        rng = np.random.default_rng(SEED)
        colours = [COLOURS[i] for i in rng.integers(3, size=examples)]
        self._paths = [_write(folder, "target", TARGET, colours), _write(folder, "general", GENERAL, colours)]
        training = [{"prompt": f"trained on {i * 7919}", "completion": "red"} for i in range(50)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in training), encoding="utf-8")
        self.target, self.general = (load_evalset(path) for path in self._paths)
        self._overlaps = Overlaps(Candidate(folder, "adapter", folder, None, has_tokenizer=False))
        files = read_files(self._paths)
        self._required = [name for file in files for name in file.gate_names]
        self._levels = Levels(ALPHA, sum(file.hypotheses for file in files))

    def run(self, adapter: Adapter, rng: np.random.Generator) -> tuple[Decision, Mapping[str, Verdict]]:
        """One adapter's run verdict and those of its gates."""
        stage = StageResult(generations=self._answers(adapter, rng))
        verdicts = {
            f"{evalset.name}::{gate.kind}": judge_gate(evalset, gate, self._overlaps, self._levels, lambda: stage)
            for evalset in (self.target, self.general)
            for gate in evalset.gates
        }
        return decide(RunFacts(self._required, self._required, verdicts)), verdicts

    def _answers(self, adapter: Adapter, rng: np.random.Generator) -> dict[str, dict[str, dict[str, Generation]]]:
        n = len(self.target.examples)
        chances = np.full(n, adapter.right)
        if adapter.weak is not None:
            chances[[e.fields["language"] == "de" for e in self.target.examples]] = adapter.weak
        baseline = _said(self.target, rng.random(n) < adapter.baseline, np.ones(n, bool))
        tuned = _said(self.target, rng.random(n) < chances, rng.random(n) < adapter.format)
        base_right = rng.random(n) < BASE_RIGHT
        base = _said(self.general, base_right, np.ones(n, bool))
        kept = _said(self.general, base_right & (rng.random(n) >= adapter.lost), np.ones(n, bool))
        if adapter.itself:
            tuned, kept = baseline, base
        return {
            "target": {"candidate": tuned, "baseline:zero_shot": baseline},
            "general": {"candidate": kept, "base": base},
        }


def _write(folder: Path, name: str, text: str, colours: Sequence[str]) -> Path:
    rows = [
        {
            "id": f"{name}-{i}",
            "q": f"{name} question {i}",
            "target": colour,
            "language": "de" if i % 4 == 0 else "en",
        }
        for i, colour in enumerate(colours)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / f"{name}.eval.yaml"
    path.write_text(PROMPT.format(name=name) + text, encoding="utf-8")
    return path


def _said(evalset: EvalSet, right: Sequence[bool], obeys: Sequence[bool]) -> dict[str, Generation]:
    """A right or a wrong colour, alone or with a mark that the format forbids and the scorer ignores."""
    found = {}
    for example, hit, plain in zip(evalset.examples, right, obeys, strict=True):
        colour = example.target if hit else COLOURS[(COLOURS.index(example.target) + 1) % 3]
        found[example.id] = Generation(colour if plain else f"{colour}!", (1,), "stop", 5)
    return found


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of many draws of one adapter."""

    adapter: Adapter
    runs: int
    verdicts: Mapping[str, int]
    """Run verdict -> how many."""
    passes: Mapping[str, int]
    """Gate -> how many passed."""


def tally(bench: Bench, adapter: Adapter, runs: int, *, seed: int = SEED) -> Tally:
    """Draw and judge `runs` adapters of this kind."""
    rng = np.random.default_rng(seed)
    verdicts: Counter[str] = Counter()
    passes: Counter[str] = Counter()
    for _ in range(runs):
        decision, gates = bench.run(adapter, rng)
        verdicts[decision.verdict] += 1
        passes.update(name for name, verdict in gates.items() if verdict.outcome == "PASS")
    return Tally(adapter, runs, verdicts, passes)


def table(tallies: Sequence[Tally]) -> Table:
    runs = tallies[0].runs
    gates = ("target::format", "target::accuracy", "target::beats_baseline", "general::forgetting")
    verdicts = ("SHIP", "BLOCK", "INCONCLUSIVE")
    rows = [
        [t.adapter.name, *(str(t.verdicts[v]) for v in verdicts), *(str(t.passes[g]) for g in gates)] for t in tallies
    ]
    return Table(
        "Simulated adapters through the real gates",
        f"Of {runs} adapters of each kind, how many get which run verdict, and how many pass each gate. {EXAMPLES} "
        f"target and {EXAMPLES} general examples; format at least {FORMAT:g}, accuracy at least {FLOOR:g} (and at "
        f"least {SLICE_FLOOR:g} in each of two languages, one of them a quarter of the examples), a gain above "
        f"{GAIN:g}, a drop below {DROP:g}; every answer drawn independently (seed {SEED}). Where something is exactly "
        f"at its bound at most 5 % may ship: of {runs}, up to {most_allowed(runs)} (99.9 % of simulations stay within "
        "that if the chance is 5 %). An A/A run passes forgetting and never beats the baseline.",
        ["adapter", *verdicts, *(g.partition("::")[2] for g in gates)],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__)
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where to write the table (default: %(default)s)")
    parser.add_argument("--adapters", type=int, default=ADAPTERS, help="draws of each kind (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        made = table(
            [tally(bench, adapter, options.adapters) for adapter in (*ADAPTERS_AT_A_BOUND, *OTHERS)]
        ).markdown()
    head = "Written by `make bench-adapters` (`python -m benchmarks.adapters`); do not edit by hand."
    options.output.write_text(f"# Do adapters at the boundary ship?\n\n{head}\n\n{made}", encoding="utf-8")
    print(made)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
