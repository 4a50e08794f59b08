"""Files of adapters written by hand, without torch: what a directory looks like, and nothing in it that was trained."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
CONFIG: Mapping[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
}


def lora(modules: Sequence[str] = LAYERS, *, rank: int = 4, width: int = 32) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of a LoRA on square weights."""
    found: dict[str, tuple[int, ...]] = {}
    for module in modules:
        found[f"base_model.model.{module}.lora_A.weight"] = (rank, width)
        found[f"base_model.model.{module}.lora_B.weight"] = (width, rank)
    return found


def save(path: Path, shapes: Mapping[str, Sequence[int]], **more: Any) -> Path:
    """A safetensors file of zeros in 32 bits; `more` goes into its header."""
    header, at = dict(more), 0
    for name, shape in shapes.items():
        size = 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(at))
    return path


def folder(path: Path, *, shapes: Mapping[str, Sequence[int]] | None = None, **changes: Any) -> Path:
    """An adapter's directory."""
    save(path / "adapter_model.safetensors", lora() if shapes is None else shapes)
    (path / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))
    return path
