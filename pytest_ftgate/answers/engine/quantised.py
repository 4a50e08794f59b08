"""In which form a loaded model holds its weights: read from its layers, never from what was asked for."""

from __future__ import annotations

from typing import Any

PACKAGES = {"nf4": "bitsandbytes", "fp4": "bitsandbytes", "int8": "bitsandbytes"}
"""Form -> the package whose arithmetic it is."""


def form_of(model: Any) -> str:
    """`none`, `nf4`, `fp4` or `int8` (bitsandbytes), the name of another method, or several with `+` between."""
    found = {form for module in model.modules() if (form := _form(module))}
    if not found and (method := _method(model)):
        found = {method}
    return "+".join(sorted(found)) or "none"


def _form(layer: Any) -> str:
    """Of one layer. Empty where it holds plain numbers. By the name of its class: its library need not be installed."""
    weight = getattr(layer, "weight", None)
    kind = type(weight).__name__
    if kind == "Params4bit":
        state = getattr(weight, "quant_state", None)
        return str(getattr(state, "quant_type", None) or getattr(weight, "quant_type", "4 bits"))
    return "int8" if kind == "Int8Params" else ""


def _method(model: Any) -> str:
    """What config.json of the files says, for methods whose layers are not known here."""
    config = getattr(model.config, "quantization_config", None)
    config = config if isinstance(config, dict) or config is None else config.to_dict()
    return str(getattr(config["quant_method"], "value", config["quant_method"])) if config else ""
