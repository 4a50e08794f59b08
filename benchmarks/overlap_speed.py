"""Rows for the speed measurement, and one measurement in a process of its own (for its CPU time and memory).

python -m benchmarks.overlap_speed TRAIN.jsonl N_EXAMPLES WORKERS
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.overlap_language import QUESTIONS, Language
from evalsets.overlap import Item, OverlapOptions, find_overlaps

PLANTED = 20  # one example in this many stands in the rows


def write_rows(path: Path, n_rows: int, items: list[Item]) -> float:
    """Write chat rows of about 75 tokens, with copies of some items. Returns tokens per row."""
    language, rng = Language(3), random.Random(3)
    bank = [language.text(1, language.topic()) for _ in range(60_000)]
    planted = iter(items[::PLANTED])
    tokens = 0
    with path.open("w", encoding="utf-8") as stream:
        for i in range(n_rows):
            item = next(planted, None) if i % 50 == 25 else None
            question = item.input if item else " ".join(rng.choices(bank, k=rng.randint(3, 5)))
            answer = item.output if item else " ".join(rng.choices(bank, k=rng.randint(1, 2)))
            tokens += len(f"{question} {answer}".split())
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"id": i, "messages": turns}) + "\n")
    return tokens / n_rows


def examples(n: int) -> list[Item]:
    """Examples of the same language as the rows."""
    language = Language(3)
    items = []
    for i in range(n):
        topic = language.topic()
        text = f"{language.text(4, topic)} {language.fill(QUESTIONS[2], topic)[0]}"
        items.append(Item(f"e{i}", text, language.text(1, topic)))
    return items


def measure(path: Path, n_examples: int, workers: int, *, rephrase: bool = True) -> dict[str, float]:
    """CPU seconds (all processes), wall seconds, peak MiB of the largest process, leaks found; in a new process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.overlap_speed",
        str(path),
        str(n_examples),
        str(workers),
        str(int(rephrase)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """One measurement, as JSON on standard output."""
    path, n_examples, workers, rephrase = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bool(int(sys.argv[4]))
    items = examples(n_examples)
    before, began = _cpu(), time.monotonic()
    report = find_overlaps(items, [path], options=OverlapOptions(workers=workers, rephrase=rephrase))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    out = {"cpu": _cpu() - before, "wall": time.monotonic() - began, "mib": peak / 1024, "leaks": len(report.leaks)}
    print(json.dumps(out | {"rows": report.n_rows}))


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
