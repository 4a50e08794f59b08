"""Models with random weights and prompts of chosen lengths: work for the stage whose size is known beforehand.

A word is a token, so a prompt has as many tokens as words. Random models rarely end by themselves: their end mark is
never the likeliest token, and an answer ends at a stop string that some words hold, or at its largest length.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

VOCABULARY = 8192
CONTEXT = 2048
SPECIAL = ("<|pad|>", "<|end|>", "<|unknown|>")
STOP = "zu"
"""In about one word of fifty."""

Size = Literal["tiny", "big"]
SHAPES: dict[Size, dict[str, int]] = {
    "tiny": {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4, "num_attention_heads": 4},
    "big": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
}
"""2.9 and 97.5 million parameters."""


def words() -> list[str]:
    """VOCABULARY - len(SPECIAL) different words of two syllables, a fixed order."""
    syllables = [a + b for a, b in product("bcdfghjklmnpqrstvwxyz", "aeiou")]
    made = [a + b for a, b in product(syllables, syllables)]
    random.Random(0).shuffle(made)
    return made[: VOCABULARY - len(SPECIAL)]


def make_base(directory: Path, size: Size, *, seed: int = 0) -> Path:
    """Write a Llama-type model with random weights, float32, and its tokenizer; the same files for the same seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        initializer_range=0.06,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        **SHAPES[size],
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIAL)] = 0.0  # a logit of 0 is never the largest of thousands
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def make_tokenizer() -> Any:
    """One token for each word; nothing is added before or after a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *words()))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[2]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=SPECIAL[0], eos_token=SPECIAL[1], unk_token=SPECIAL[2]
    )


def make_adapter(base: Path, directory: Path, *, seed: int = 1, rank: int = 8) -> Path:
    """Write a LoRA adapter whose effect is real: its B is drawn at random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=targets)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(directory)
    return directory


def texts(n: int, *, shared: int, own: Sequence[int], seed: int = 0) -> list[str]:
    """`n` prompts: `shared` words that all begin with, then as many of their own as `own` says, in turn."""
    rng, pool = random.Random(seed), words()
    prefix = rng.choices(pool, k=shared)
    return [" ".join((*prefix, *rng.choices(pool, k=own[i % len(own)]))) for i in range(n)]


def label_texts(n: int, *, longest: int, seed: int = 0) -> list[str]:
    """`n` different answers to weigh, of 1 to `longest` words."""
    rng, pool = random.Random(seed), words()
    return [" ".join(rng.sample(pool, k=1 + i % longest)) for i in range(n)]
