"""What the engine makes of a GPU: each rate as a share of what the device reaches in the same run.

python -m benchmarks.gpu [--seconds 270] [--device cpu --quick] [--out docs/measured/gpu.md] [--json gpu.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_bench import Bench, Ceilings, measure_ceilings
from benchmarks.gpu_model import Shape, random_llama, random_lora
from benchmarks.gpu_parts import PARTS
from benchmarks.measured import surroundings
from benchmarks.tables import Table, paragraphs
from pytest_ftgate.answers.engine import hf_load

BIG = Shape(hidden=2560, layers=24, vocabulary=32_000, context=4096, head_size=128)
QUICK = Shape(hidden=128, layers=2, vocabulary=2_000, context=4096, head_size=32)
"""For a look at the script itself, on a CPU."""
HEAD = """\
# The engine on a GPU

Made by `make bench-gpu` on {device} ({where}): a Llama of random weights, {billions:.2f} billion parameters in bfloat16
({gib:.1f} GiB), built in place, that never ends an answer. Times are wall seconds with the device synchronised, after a
warm-up; each row is the faster of two runs unless its part ran out of time. The benchmark took {seconds:.0f} s.

A rate alone says little about the code: the same code is faster on a faster card. So the two ceilings of the card are
measured first, in the same process, and each rate is given as a share of the one that bounds it: reading prompts by
matrix products, writing answers by reading every weight once a step.
"""


@dataclass(slots=True)
class Report:
    """What was measured so far. Mutable: parts add to it."""

    tables: list[Table] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu with --quick, to see that it works")
    parser.add_argument("--seconds", type=float, default=270.0, help="for everything; what does not fit is left out")
    parser.add_argument("--quick", action="store_true", help="a model of a million parameters")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch_sees_cuda():
        raise SystemExit("torch sees no CUDA device: run this where one is, or with --device cpu --quick for a look")
    began = time.perf_counter()
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        bench = _made(Path(temporary), args.device, quick=args.quick)
        bench.ends = began + args.seconds
        ceilings = _ceilings(bench, report)
        for number, part in enumerate(PARTS):
            # What is left is shared by the parts that are left, in proportion to what each was made for.
            share = part.seconds / sum(later.seconds for later in PARTS[number:])
            _run(bench, report, part.name, part.run, ceilings, seconds=share * bench.left())
            _write(report, bench, args, time.perf_counter() - began)  # an end before the last part leaves the others
    print(args.out.read_text(encoding="utf-8") if args.out else _document(report, bench, time.perf_counter() - began))


def torch_sees_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _made(folder: Path, device: str, *, quick: bool) -> Bench:
    began = time.perf_counter()
    base = random_llama(folder / "base", QUICK if quick else BIG, device=device, dtype="bfloat16")
    adapter = random_lora(base, folder / "adapter", device=device, dtype="bfloat16")
    bench = Bench(base, adapter, device, quick=quick)
    _say(f"model made and loaded in {time.perf_counter() - began:.0f} s")
    return bench


def _ceilings(bench: Bench, report: Report) -> Ceilings:
    found = measure_ceilings(bench)
    hf_load.free()
    report.raw["ceilings"] = {"flops": found.flops, "bytes": found.bandwidth}
    rows = [
        ["matrix product in bfloat16", f"{found.flops / 1e12:,.1f} TFLOP/s", found.product],
        ["copy on the device, read and written", f"{found.bandwidth / 1e9:,.0f} GB/s", found.copied],
    ]
    report.tables.append(
        Table("Ceilings", "Median of repeated runs on random numbers.", ["what", "rate", "size"], rows)
    )
    _say(f"ceilings: {found.flops / 1e12:.1f} TFLOP/s, {found.bandwidth / 1e9:.0f} GB/s")
    return found


Part = Callable[[Bench, Ceilings], tuple[Table, Sequence[dict[str, Any]]]]


def _run(bench: Bench, report: Report, name: str, part: Part, ceilings: Ceilings, *, seconds: float) -> None:
    """One part; what it had no time for, and why it failed, is said in the document."""
    if seconds < 1:
        report.left_out.append(f"{name}: no time was left")
        return
    began = time.perf_counter()
    bench.start_part(name, seconds, lambda text: report.left_out.append(f"{name}: {text}"))
    try:
        table, raw = part(bench, ceilings)
    except Exception as error:  # noqa: BLE001  # one part that fails must not cost the others, on a machine lent for minutes
        traceback.print_exc()
        report.left_out.append(f"{name}: failed ({type(error).__name__}: {str(error)[:200]})")
        return
    report.tables.append(table)
    report.raw[name] = list(raw)
    _say(f"{name}: {time.perf_counter() - began:.0f} of {seconds:.0f} s\n{table.markdown()}")


def _document(report: Report, bench: Bench, seconds: float) -> str:
    head = HEAD.format(
        device=bench.device_name,
        where=surroundings(),
        billions=bench.parameters / 1e9,
        gib=bench.weight_bytes / 2**30,
        seconds=seconds,
    )
    parts = [paragraphs(head), *(table.markdown().rstrip("\n") for table in report.tables)]
    if report.left_out:
        parts.append("## Left out\n\n" + "\n".join(f"- {text}" for text in report.left_out))
    return "\n\n".join(parts) + "\n"


def _write(report: Report, bench: Bench, args: argparse.Namespace, seconds: float) -> None:
    if args.out:
        args.out.write_text(_document(report, bench, seconds), encoding="utf-8")
    if args.json:
        told = {**report.raw, "left_out": report.left_out, "device": bench.device_name, "seconds": seconds}
        args.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
