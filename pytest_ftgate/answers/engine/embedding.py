"""The input embedding of a model, also where peft put something of its own in its place."""

from __future__ import annotations

from typing import Any

_INNER = ("token_adapter", "base_layer", "original_module", "base_layer")
"""What peft's wrappers call what they wrap: trained rows, LoRA on an embedding, a copy that is trained whole."""


def table(model: Any) -> Any:
    """Its weights: (tokens, width)."""
    layer = model.get_input_embeddings()
    for name in _INNER:
        layer = getattr(layer, name, layer)
    return layer.weight
