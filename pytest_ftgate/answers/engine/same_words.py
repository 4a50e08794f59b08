"""Whether the candidate's tokenizer reads the same words in a prompt as the base's.

A tokenizer.json is a program as well: a normaliser can put other words in the place of a question, and a vocabulary
with two entries changed about reads one word as another. Both leave the rendered prompt as it is. So the base's
tokenizer tells what the candidate's token ids say. Other cuts of the same words are the candidate's own affair, and so
are tokens that were added for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_ftgate.answers.engine.skeleton import difference
from pytest_ftgate.errors import IdentityError


def require_same_words(text: str, tuned: Any, base: Any, owner: str, *, own_vocabulary: bool = False) -> None:
    """IdentityError where `text` is other words to the tokenizer `tuned` (of `owner`) than to `base`.

    `own_vocabulary`: of a full model, which may number its tokens as it likes: its tokens are read, not its ids.
    """
    if tuned is base:
        return
    ours, bases = _ids(tuned, text), _ids(base, text)
    if ours == bases:
        return
    expected = _decoded(base, bases)
    if own_vocabulary:
        found = _read(base, tuned.convert_ids_to_tokens(ours), tuned)
    else:
        found = _decoded(base, _in_ids_of_base(ours, tuned, base))
    if _squeezed(expected) != _squeezed(found):
        raise IdentityError(
            f"the tokenizer of {owner} reads other words in a prompt than the base's: {difference(expected, found)}",
            fix="restore tokenizer.json as the trainer left it; a candidate may add tokens, and change none",
        )


def _in_ids_of_base(ids: Sequence[int], tuned: Any, base: Any) -> list[int]:
    """The same words in token ids of the base: a token that the base lacks becomes those of its text."""
    size, own, theirs = len(base), tuned.added_tokens_decoder, base.added_tokens_decoder
    out: list[int] = []
    for i in ids:
        renamed = i in theirs and i in own and theirs[i].content != own[i].content  # a reserved place was used
        if i < size and not renamed:
            out.append(i)
            continue
        token = tuned.convert_ids_to_tokens(i)
        out += _ids(base, own[i].content if i in own else base.convert_tokens_to_string([token]))
    return out


def _read(base: Any, tokens: Sequence[str], tuned: Any) -> str:
    """What tokens say by the base's decoder; the candidate's own could hide what its normaliser did."""
    special, out, run = {str(token) for token in tuned.get_added_vocab()}, "", list[str]()
    for token in tokens:
        if token in special:
            out, run = out + base.convert_tokens_to_string(run) + token, []
        else:
            run.append(token)
    return out + str(base.convert_tokens_to_string(run))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _squeezed(text: str) -> str:
    """Without white space: decoders put some beside tokens that stand alone."""
    return "".join(text.split())
