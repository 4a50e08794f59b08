"""What the parts of the GPU benchmark share: the model, its engines, a clock, and the ceilings of the device."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_ftgate.answers.engine import hf_load, support
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.model.identity import resolve_candidate

FIRST_TOKEN = 5
"""Those before are special."""


@dataclass(slots=True)
class Bench:
    """The model on its device, engines that share it, and the time that is left. Mutable: the clock runs."""

    base: Path
    adapter: Path
    device: str
    quick: bool
    ends: float = 0.0
    part_ends: float = 0.0
    part: str = ""
    tell: Callable[[str], None] = print
    seed: int = 0
    sides: Any = None
    engines: dict[tuple[int, bool], HFEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine(64)

    def engine(self, batch_size: int, *, shared: bool = True) -> HFEngine:
        """The engine of that batch size on the model that is loaded already; prefixes shared, or never."""
        if (batch_size, shared) not in self.engines:
            self.engines[batch_size, shared] = self._new_engine(batch_size, shared=shared)
        return self.engines[batch_size, shared]

    def _new_engine(self, batch_size: int, *, shared: bool) -> HFEngine:
        candidate = resolve_candidate(str(self.adapter), str(self.base), self.base.parent)
        made = HFEngine(candidate, hf_load.Settings(self.device, "bfloat16", "none", batch_size))
        with contextlib.ExitStack() as patches:
            if self.sides is not None:
                patches.enter_context(mock.patch.object(hf_load, "load", return_value=self.sides))
            if not shared:
                patches.enter_context(mock.patch.object(support, "why_not_shared", return_value="not here"))
            self.sides = made._sides
        if bool(made._unshared) is shared:
            raise SystemExit(f"the engine would not ask in the way that was to be measured: {made._unshared}")
        return made

    @property
    def device_name(self) -> str:
        return str(self.sides.facts["device"])

    @property
    def model(self) -> Any:
        """The bare transformers model; with the adapter's layers in it, switched off by `using(tuned=False)`."""
        return self.sides.tuned

    @property
    def _own(self) -> list[Any]:
        return [p for name, p in self.model.named_parameters() if "lora_" not in name]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self._own)

    @property
    def embedding(self) -> int:
        return int(self.model.get_input_embeddings().weight.numel())

    @property
    def weight_bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self._own)

    @property
    def read_bytes(self) -> int:
        """What one step must read of the weights: all but the embedding, of which it takes a row."""
        return self.weight_bytes - 2 * self.embedding

    @property
    def config(self) -> Any:
        return self.model.config

    def kv_bytes(self, tokens: int) -> int:
        """Keys and values of so many tokens of one row."""
        each = self.config.num_key_value_heads * self.config.head_dim
        return int(2 * 2 * self.config.num_hidden_layers * each * tokens)

    def left(self) -> float:
        return self.ends - time.perf_counter()

    def start_part(self, name: str, seconds: float, tell: Callable[[str], None]) -> None:
        self.part, self.tell, self.part_ends = name, tell, time.perf_counter() + seconds

    def has_time(self, for_what: str, seconds: float = 0.0) -> bool:
        """Whether the part has `seconds` left; what it has no time for is told."""
        if time.perf_counter() + seconds < self.part_ends:
            return True
        self.tell(f"no time was left for {for_what}")
        return False

    def prompts(self, n: int, length: int, *, shared: int = 0) -> list[tuple[int, ...]]:
        """`n` new random prompts of `length` tokens, of which the first `shared` are the same."""
        import torch

        self.seed += 1
        generator = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(FIRST_TOKEN, 1000, (n, length), generator=generator)
        ids[:, :shared] = ids[0, :shared]
        return [tuple(row) for row in ids.tolist()]

    def wait(self) -> None:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Wall seconds of the faster of two runs; of one, where a second would take the part's time."""
        took = [self.once(work)]
        if time.perf_counter() + took[0] < self.part_ends:
            took.append(self.once(work))
        return min(took)

    def once(self, work: Callable[[], object]) -> float:
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device reaches with nothing around it."""

    flops: float
    """bfloat16 matrix product, per second."""
    bandwidth: float
    """Bytes a second, read and written, of a copy."""
    product: str
    copied: str


def measure_ceilings(bench: Bench) -> Ceilings:
    """Medians of a large matrix product and of a large copy, random numbers in both."""
    import torch

    side, many = (512, 2**22) if bench.quick else (8192, 2**31)
    left, right = (torch.randn(side, side, dtype=torch.bfloat16, device=bench.device) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.randn(2**20, device=bench.device).repeat(many // 2**20)
    target = torch.empty_like(source)
    times = {}
    works: dict[str, Callable[[], object]] = {
        "product": lambda: torch.matmul(left, right, out=product),
        "copy": lambda: target.copy_(source),
    }
    for name, work in works.items():
        for _ in range(3):
            work()
        times[name] = statistics.median(bench.once(work) for _ in range(10))
    moved = 2 * source.numel() * source.element_size()
    return Ceilings(
        2 * side**3 / times["product"], moved / times["copy"], f"{side} x {side} x {side}", f"{moved / 2**30:.1f} GiB"
    )
