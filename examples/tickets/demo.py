"""The main job on the embedded base: train four adapters, judge each, and see why only one may ship.

    python examples/tickets/demo.py [good leaky overcooked pointless] [--seed N] [--keep]

Two adapters are worked on at a time; what you read is the output of the commands that you would type yourself: train
(which first asks whether a prompt would do), judge, and the question of a deploy step, whether the receipt says SHIP.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
RUNS = Path("runs")
PROGRAMS = {"python": (), "pytest": ("-m", "pytest"), "pytest-ftgate": ("-m", "pytest_ftgate")}
"""What a command of the demo is called -> how this Python runs it."""


@dataclass(frozen=True)
class Story:
    """One adapter of the demo and what must come of it."""

    name: str
    evals: str
    verdict: str
    blocked_by: str
    """Gate that must fail; "" for SHIP."""
    although: str
    """Gate that must pass all the same: what people look at first."""
    moral: str
    refused: bool = False
    """The trainer's ladder finds that a prompt is enough; it is trained with --no-ladder all the same."""


STORIES = (
    Story("good", "evals", "SHIP", "", "tickets::accuracy", "trained on clean rows with some general rows mixed in"),
    Story(
        "leaky",
        "evals",
        "BLOCK",
        "tickets::overlap",
        "tickets::format",
        "its training rows hold eval rows, some lightly edited",
    ),
    Story(
        "overcooked",
        "evals",
        "BLOCK",
        "general::forgetting",
        "tickets::accuracy",
        "right on tickets, but it forgot everything else",
    ),
    Story(
        "pointless",
        "evals_pointless",
        "BLOCK",
        "sentiment::beats_baseline",
        "sentiment::accuracy",
        "a prompt alone does this as well",
        refused=True,
    ),
)


@dataclass(frozen=True)
class Job:
    """The commands of one story, and the file that their output goes to."""

    story: Story
    commands: tuple[tuple[str, ...], ...]
    log: Path
    result: Path
    told: tuple[int, ...]
    """Exit codes that the commands must have."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen stories; 0 where each came out as told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="adapters to make (default: all four)")
    parser.add_argument("--seed", type=int, default=None, help="training seed (default: the one in train/*.yaml)")
    parser.add_argument("--keep", action="store_true", help="judge the adapters in runs/ again, without training")
    args = parser.parse_args(argv)
    unknown = set(args.names) - {story.name for story in STORIES}
    if unknown:
        parser.error(f"unknown adapter {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in STORIES)}")
    stories = [story for story in STORIES if not args.names or story.name in args.names]
    began = time.monotonic()
    jobs = [_job(story, args.seed, train=not args.keep) for story in stories]
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = [(job, pool.submit(_run, job)) for job in jobs]
        for job, future in running:
            print(f"\n######## {job.story.name}: {job.story.moral}\n", flush=True)
            for text in _follow(job.log, future):
                print(text, end="", flush=True)
        codes = [future.result() for _, future in running]
    return _summary(jobs, codes, time.monotonic() - began)


def _job(story: Story, seed: int | None, *, train: bool) -> Job:
    suffix = "" if seed is None else f"-seed{seed}"
    run = RUNS / f"{story.name}{suffix}"
    result = HERE / RUNS / f"{run.name}.verdict.json"
    log = HERE / RUNS / f"{run.name}.log"
    for stale in (result, log):
        stale.unlink(missing_ok=True)
    log.parent.mkdir(exist_ok=True)
    log.touch()
    commands: list[tuple[str, ...]] = []
    told: list[int] = []
    if train:
        shutil.rmtree(HERE / run, ignore_errors=True)
        seeded = () if seed is None else ("--seed", str(seed))
        command = ("python", "-m", "training", f"train/{story.name}.yaml", "--output-dir", str(run), *seeded)
        commands += [command, (*command, "--no-ladder")] if story.refused else [command]
        told += [3, 0] if story.refused else [0]
    shipped = 0 if story.verdict == "SHIP" else 1
    receipt = RUNS / f"{run.name}.receipt.json"
    reports = (f"--ft-json={RUNS / result.name}", f"--ft-receipt={receipt}")
    commands.append(("pytest", f"--ft-model={run}", *reports, story.evals))
    commands.append(("pytest-ftgate", "verify", str(run), "--receipt", str(receipt)))
    return Job(story, tuple(commands), log, result, (*told, shipped, shipped))


def _run(job: Job) -> list[int]:
    """Exit codes of the commands."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    codes = []
    with job.log.open("a", encoding="utf-8") as log:
        for name, *rest in job.commands:
            log.write(f"$ {' '.join((name, *rest))}\n")
            log.flush()
            command = [sys.executable, *PROGRAMS[name], *rest]
            done = subprocess.run(command, cwd=HERE, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
            codes.append(done.returncode)
            log.write(f"(exit code {done.returncode})\n")
    return codes


def _follow(log: Path, future: Future[list[int]]) -> Iterator[str]:
    """What is written to the log, as it comes, until the job has ended."""
    with log.open(encoding="utf-8", errors="replace") as file:
        while True:
            ended = future.done()
            if text := file.read():
                yield text
            elif ended:
                return
            else:
                time.sleep(0.2)


def _summary(jobs: Sequence[Job], codes: Sequence[list[int]], seconds: float) -> int:
    rows, surprises = [], 0
    for job, returned in zip(jobs, codes, strict=True):
        found = json.loads(job.result.read_text()) if job.result.is_file() else {"verdict": "none", "gates": []}
        outcomes = {gate["gate"]: gate["outcome"] for gate in found["gates"]}
        failed = [name for name, outcome in outcomes.items() if outcome == "FAIL"]
        as_told = found["verdict"] == job.story.verdict and outcomes.get(job.story.although) == "PASS"
        as_told = as_told and (not job.story.blocked_by or job.story.blocked_by in failed)
        as_told = as_told and returned == list(job.told)
        surprises += not as_told
        rows.append((job.story.name, found["verdict"], ", ".join(failed) or "-", "yes" if as_told else "NO"))
    print("\n######## summary\n")
    print(tabulate(rows, headers=("adapter", "verdict", "blocked by", "as told")))
    print(f"\n{seconds:.0f} s. Next: look into examples/tickets/README.md, or judge one again:")
    print("  cd examples/tickets && pytest --ft-model=runs/good --ft-html=report.html evals")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
