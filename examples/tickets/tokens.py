"""The tokenizer of the embedded base: one token for each word of the world, single bytes for everything else."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"

# The end mark is inside the generation block: a model is trained to write it.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}
{%- else -%}
<|{{ message['role'] }}|>{{ message['content'] }}<|end|>
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{%- endif -%}
"""


def build(texts: list[str], *, max_length: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges: a pre-token that is in the vocabulary is one token, any other is bytes.

    `texts` must hold every word of the world in the places where it occurs; their order does not matter.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\d| ?[^\s\p{L}\p{N}]+|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words = {piece for text in texts for piece, _ in split.pre_tokenize_str(f" {text}")}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ordered = [PAD, END, SYSTEM, USER, ASSISTANT, *alphabet, *sorted(words - set(alphabet))]
    vocabulary = {word: index for index, word in enumerate(ordered)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    # A space before each turn: a word is the same token at the start of an answer as inside a question.
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([PAD, END, SYSTEM, USER, ASSISTANT])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
