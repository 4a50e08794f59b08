"""Processes and what they cost: CPU seconds and peak memory do not depend on who else uses the machine; wall does."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process, and those it started, took."""

    cpu: float
    """User and system seconds."""
    wall: float
    """Seconds."""
    memory: float
    """Peak resident MiB of the largest process."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall, max(self.memory, other.memory))


def run(command: Sequence[str], *, folder: Path, log: Path, accept: Sequence[int] = (0,)) -> Cost:
    """Run to the end on one thread, offline, its output in `log`. Raises SystemExit where it ends otherwise."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling again in every process is nobody's way of working
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accept:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-3000:])
        raise SystemExit(f"{command[0]} ended with {process.returncode}; its output is in {log}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, time.perf_counter() - began, usage.ru_maxrss / 1024.0)


def surroundings() -> str:
    """Machine and versions, for the head of a document."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return f"{names[0] if names else platform.machine()}, {len(names) or '?'} logical cores; {libraries}"
