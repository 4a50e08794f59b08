"""Models made in place for a machine without network: a random Llama of any size, and a LoRA for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed_work import DEMO

HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama; a quarter of its heads hold keys and values."""

    hidden: int
    layers: int
    vocabulary: int = 0
    """0: that of the demo's tokenizer."""
    context: int = 4096
    head_size: int = HEAD_SIZE

    @property
    def heads(self) -> int:
        return self.hidden // self.head_size

    @property
    def kv_heads(self) -> int:
        return max(1, self.heads // 4)

    @property
    def intermediate(self) -> int:
        return self.hidden * 8 // 3 // 64 * 64


def random_llama(folder: Path, shape: Shape, *, device: str, dtype: str, seed: int = 0) -> Path:
    """Write a base of random weights, with the demo's tokenizer, that never ends an answer; returns its directory.

    It is made on `device` in `dtype`: billions of weights take seconds there.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    written = json.loads((DEMO / "base" / "config.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    config = LlamaConfig(
        vocab_size=shape.vocabulary or written["vocab_size"],
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        initializer_range=0.05,
        eos_token_id=written["eos_token_id"],
        pad_token_id=written["pad_token_id"],
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        # Its logit is always 0, and some other of a thousand is always above.
        model.lm_head.weight[written["eos_token_id"]] = 0.0
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(DEMO / "base" / name, folder / name)
    kept = {name: written[name] for name in ("eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


def random_lora(base: Path, folder: Path, *, device: str, dtype: str, seed: int = 1, std: float = 0.02) -> Path:
    """A LoRA of rank 16 on all linear layers of `base`, drawn at random: its cost is that of a trained one.

    `std`: how large its second matrices are, and with them its effect.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)).to(device)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)
    tuned.save_pretrained(folder)
    return folder
