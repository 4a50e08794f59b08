"""How the cost of a run grows with examples, rungs and the length of the shared prefix; and its memory.

python -m benchmarks.growth [--scale 0.1] [--out docs/measured/growth.md]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import Cost, surroundings
from benchmarks.speed import Work, fresh, ours
from benchmarks.speed_work import Size, demo_base, random_adapter, write_evalsets
from benchmarks.tables import Table, paragraphs

EXAMPLES = (100, 1_000, 10_000, 20_000)
RUNGS = (1, 2, 4, 8)
SHOTS = (1, 4, 16, 40)
"""About 50 tokens each."""
SHORT = Size(tickets=0, general=0, words=0, phrases=0, shots=4, new_tokens=8)


SECOND = ((1_000, 1), (4_000, 1), (1_000, 3))
"""(examples, rungs)"""
HEAD = """\
# How the cost grows

Made by `make bench-growth` ({where}): whole pytest runs on the demo's base, nothing stored, start-up included, one
thread, at most 8 new tokens an answer. Peak memory is that of the process: imports take most of what the first row of
the first table shows, the model 4 MiB.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the examples, for a quick look")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        text = _document(Path(temporary), args.scale)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def _document(folder: Path, scale: float) -> str:
    base = demo_base(folder)
    first, second = (random_adapter(base, folder / "runs" / f"a{seed}", seed=seed) for seed in (1, 2))
    work = Work("growth", folder, base, first, ())
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    counts = [max(50, round(n * scale)) for n in EXAMPLES]
    some = max(50, round(500 * scale))
    tables = [
        _table(work, "Examples", counts, [_size(n) for n in counts], "examples; one rung of 4 shots"),
        _table(work, "Rungs", RUNGS, [_size(some, rungs=k) for k in RUNGS], f"rungs of 4 to 11 shots; {some} examples"),
        _table(work, "Shared prefix", SHOTS, [_size(some, shots=k) for k in SHOTS], f"shots; {some} examples"),
        _second_adapter(work, second, [(max(50, round(n * scale)), rungs) for n, rungs in SECOND]),
    ]
    head = paragraphs(HEAD.format(where=surroundings()))
    return "\n\n".join([head, "\n".join(table.markdown() for table in tables)])


def _size(tickets: int, *, shots: int = SHORT.shots, rungs: int = 1) -> Size:
    return Size(tickets, 0, 0, 0, shots, SHORT.new_tokens, rungs)


def _table(work: Work, title: str, steps: Sequence[int], sizes: Sequence[Size], what: str) -> Table:
    costs = [_run(work, size) for size in sizes]
    rows = [_row(step, cost, costs[0]) for step, cost in zip(steps, costs, strict=True)]
    return Table(title, f"First column: {what}.", ["n", "CPU s", "over the first row", "peak MiB"], rows)


def _second_adapter(work: Work, second: Path, jobs: Sequence[tuple[int, int]]) -> Table:
    rows = []
    for examples, rungs in jobs:
        size = Size(examples, examples // 2, examples // 4, examples // 4, 16, 24, rungs)
        cold = _run(work, size)
        warm = ours(work, second)
        row = [f"{examples:,}", str(rungs), f"{cold.cpu:.0f}", f"{warm.cpu:.0f}", f"{warm.cpu / cold.cpu:.0%}"]
        rows.append(row)
        print(f"  second adapter: {warm.cpu:.0f} CPU-s", flush=True)
    text = paragraphs(
        "Tickets with the rungs of 16 shots; half as many general questions; a quarter as many with labels of one "
        "token, and as many with longer ones."
        " At most 24 new tokens. The second adapter finds the base's answers in the store. Start-up is in both."
    )
    headers = ["examples", "rungs", "first adapter, CPU s", "second, CPU s", "share"]
    return Table("A second adapter on the same base", text, headers, rows)


def _row(step: int, cost: Cost, first: Cost) -> list[str]:
    return [f"{step:,}", f"{cost.cpu:.0f}", f"+{cost.cpu - first.cpu:.0f}", f"{cost.memory:.0f}"]


def _run(work: Work, size: Size) -> Cost:
    write_evalsets(work.folder, size)
    fresh(work)
    cost = ours(work, work.adapter)
    print(f"  {size}: {cost.cpu:.0f} CPU-s, {cost.memory:.0f} MiB", flush=True)
    return cost


if __name__ == "__main__":
    main()
