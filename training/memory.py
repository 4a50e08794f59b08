"""GPU memory that a run needs at the very least, from the headers of the weights: no model is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from pytest_ftgate.files.wording import nearest
from training.advice import names
from training.config import TrainingConfig

_LAYER = re.compile(r"\.(\d+)\.")
_NOT_LINEAR = ("embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out")

# Bytes a weight: NF4 in blocks of 64 with double quantisation (QLoRA, arXiv 2305.14314, section 3): 4 + 0.127 bits.
_NF4 = 4.127 / 8
_ADAMW, _ADAMW_8BIT = 8.0, 2.0


@dataclass(frozen=True, slots=True)
class Memory:
    """A lower bound: weights, gradients and optimizer states. Activations come on top."""

    weights: int
    """Parameters of the base."""
    trained: int
    """Parameters that are trained."""
    bytes: int

    def __str__(self) -> str:
        beside = f"{self.trained:,} trained beside {self.weights:,} of the base"
        share = f"all {self.weights:,} trained" if self.trained == self.weights else beside
        size = f"{self.bytes / 2**30:.1f} GiB" if self.bytes >= 2**30 else f"{self.bytes / 2**20:.1f} MiB"
        return f"{share}; at least {size}, activations not counted"


def least_memory(config: TrainingConfig, base: Path, *, bf16: bool) -> Memory:
    """The least that the run needs, in bytes. Raises OSError and ValueError for weights that are no safetensors."""
    shapes = dict(_shapes(base))
    weights = sum(prod(shape) for shape in shapes.values())
    states = _ADAMW_8BIT if "8bit" in str(config.arguments.get("optim", "")) else _ADAMW
    if config.lora is None:
        return Memory(weights, weights, round(weights * (4 + 4 + states)))
    trained = sum(_adapter_size(config, name, shape) for name, shape in shapes.items())
    if config.quantization is None:
        return Memory(weights, trained, round(weights * (2 if bf16 else 4) + trained * (4 + 4 + states)))
    linear = sum(prod(shape) for name, shape in shapes.items() if _is_linear(name, shape))
    # prepare_model_for_kbit_training holds what is not quantised in fp32; TRL holds the adapter in bf16.
    frozen = linear * _NF4 + (weights - linear) * 4
    return Memory(weights, trained, round(frozen + trained * (2 + 2 + states)))


def unknown_modules(config: TrainingConfig, base: Path) -> dict[str, str | None]:
    """Names under `lora` that no weight of the base has, each with the nearest that one has.

    peft passes over such a name without a word as long as it finds another one. Raises OSError and ValueError.
    """
    if config.lora is None:
        return {}
    asked = [*names(config.lora["target_modules"]), *names(config.lora["modules_to_save"])]
    if not asked:
        return {}
    modules = {module for name, _ in _shapes(base) for module in (name.rpartition(".")[0],)}
    unknown = [one for one in asked if not any(f".{module}".endswith(f".{one}") for module in modules)]
    ends = {module.rpartition(".")[2] for module in modules}
    return {one: nearest(one, ends) for one in unknown if one != "lm_head"}  # which a tied base need not store


def _adapter_size(config: TrainingConfig, name: str, shape: tuple[int, ...]) -> int:
    """Parameters that the adapter adds for one weight: r * (in + out) for a linear layer that it targets."""
    lora: Mapping[str, object] = config.lora or {}
    module = name.removesuffix(".weight")
    if module.rsplit(".", 1)[-1] in names(lora["modules_to_save"]):
        return prod(shape)
    wanted = lora["target_modules"]
    targeted = wanted == "all-linear" or any(module == one or module.endswith(f".{one}") for one in names(wanted))
    layer = _LAYER.search(name)
    layers = lora["layers_to_transform"]
    if isinstance(layers, list) and (layer is None or int(layer[1]) not in layers):
        return 0
    excluded = any(module == one or module.endswith(f".{one}") for one in names(lora["exclude_modules"]))
    if not targeted or excluded or not _is_linear(name, shape):
        return 0
    return int(str(lora["r"])) * sum(shape) + (shape[0] if lora["use_dora"] else 0)


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and name.split(".")[-2] not in _NOT_LINEAR


def _shapes(base: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every tensor, from the JSON header that begins each safetensors file."""
    for path in sorted(base.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 100 * 2**20:
                raise ValueError(f"{path.name}: the header is too large to be safetensors")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError(f"{path.name}: the header is no JSON object")
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, _shape(path.name, entry)


def _shape(file: str, entry: object) -> tuple[int, ...]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{file}: a tensor without a shape")
    return tuple(shape)
