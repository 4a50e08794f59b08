"""The GPU benchmark on a CPU, with a model of a million parameters: what it measures, leaves out, and survives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_parts
from benchmarks.gpu_bench import Bench, Ceilings
from benchmarks.tables import Table

ROOT = Path(__file__).parents[3]
CEILINGS = Ceilings(flops=1e12, bandwidth=1e10, product="", copied="")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return gpu._made(tmp_path_factory.mktemp("gpu"), "cpu", quick=True)


def started(bench: Bench, seconds: float) -> tuple[Bench, list[str]]:
    told: list[str] = []
    bench.start_part("part", seconds, told.append)
    return bench, told


def test_the_engine_is_asked_both_ways_on_one_model(bench: Bench) -> None:
    shared, alone = bench.engine(4), bench.engine(4, shared=False)
    assert shared._sides is alone._sides
    assert (shared._unshared, alone._unshared) == ("", "not here")


def test_the_bytes_of_a_step_are_those_of_the_weights_that_it_reads(bench: Bench) -> None:
    """Counted again from the shapes: every weight but the embedding, in 16 bits; nothing of the adapter."""
    config = bench.config
    heads = config.head_dim * (2 * config.num_attention_heads + 2 * config.num_key_value_heads)
    layer = config.hidden_size * (heads + 3 * config.intermediate_size + 2)
    weights = config.num_hidden_layers * layer + config.hidden_size * (config.vocab_size + 1)
    assert bench.read_bytes == 2 * weights
    assert bench.kv_bytes(3) == 3 * 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim


def test_labels_are_measured_and_what_there_was_no_time_for_is_said(bench: Bench) -> None:
    import torch

    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("torch packs 16-bit labels on processors with AVX-512 alone; on a GPU it does not matter")
    table, raw = gpu_parts.labels(started(bench, 60.0)[0], CEILINGS)
    assert [each["prompts"] for each in raw][:2] == [8, 2]
    assert len(table.rows) == len(raw)
    late, told = started(bench, 0.0)
    table, raw = gpu_parts.labels(late, CEILINGS)
    assert len(raw) == 1
    assert any(text.startswith("no time was left for one row a label") for text in told)


def test_prompts_share_what_they_are_to_share_and_are_new_each_time(bench: Bench) -> None:
    rows = bench.prompts(6, 24, shared=16)
    assert len({row[:16] for row in rows}) == 1
    assert len({row[16:] for row in rows}) == 6
    assert bench.prompts(6, 24, shared=16) != rows


def test_a_part_that_fails_or_comes_too_late_is_named_and_the_others_go_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("no such kernel")

    def works(*_: Any) -> tuple[Table, list[dict[str, Any]]]:
        return Table("Worked", "", ["n"], [["1"]]), [{"n": 1}]

    report = gpu.Report()
    bench.ends = time.perf_counter() + 100
    parts: list[tuple[str, Callable[..., Any], float]] = [("a", breaks, 9.0), ("b", works, 9.0), ("c", works, 0.5)]
    for name, part, seconds in parts:
        gpu._run(bench, report, name, part, CEILINGS, seconds=seconds)
    assert [table.title for table in report.tables] == ["Worked"]
    assert report.left_out == ["a: failed (RuntimeError: no such kernel)", "c: no time was left"]
    text = gpu._document(report, bench, 1.0)
    assert "## Worked" in text
    assert "- a: failed (RuntimeError: no such kernel)" in text


@pytest.mark.slow
def test_the_gpu_tests_themselves_work_on_a_cpu() -> None:
    """A GPU is there for minutes: what a change of the engine broke in its tests must be known before."""
    environment = {
        **os.environ,
        "FTGATE_GPU_TESTS_ON": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 10
