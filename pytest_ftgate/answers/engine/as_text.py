"""Token ids of a prompt in which only the template's own marks are control tokens, never what a message says.

A tokenizer turns `<|im_start|>` into a control token wherever it stands, also in a question: data then opens turns of
its own. Prompts without such a text (nearly all) are encoded whole, as transformers does. For the others the marks of
the template get names that no text can hold, in a copy of the tokenizer that takes the control tokens for text: the
text is cut, normalised and merged in the same places as before, and the names are replaced by the tokens meant.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any
from weakref import WeakKeyDictionary

from pytest_ftgate.answers.engine.prefix import Tokens
from pytest_ftgate.errors import EngineError
from pytest_ftgate.files.sanitise import visible

WORD = "word"
"""A content that holds no control token."""
NAME_LETTERS = 32


@dataclass(frozen=True, slots=True)
class _Apart:
    """A copy of a tokenizer to which control tokens are text, and the names by which they can still be written."""

    copy: Any
    names: Mapping[str, str]
    """Control token -> its name."""
    meant: Mapping[int, int]
    """Id of a name -> id of the control token."""

    def encode(self, pieces: Sequence[str], contents: Sequence[str], *, add_special: bool) -> Tokens:
        named = re.compile("|".join(re.escape(token) for token in sorted(self.names, key=len, reverse=True)))
        marked = [named.sub(lambda found: self.names[found[0]], piece) for piece in pieces]
        ids = self.copy.encode(joined(marked, contents), add_special_tokens=add_special).ids
        return tuple(self.meant.get(i, i) for i in ids)


@dataclass(slots=True)
class _Known:
    """What was worked out for one tokenizer. Mutable: it grows."""

    controls: dict[tuple[tuple[str, ...], bool], tuple[frozenset[int], Tokens]] = field(default_factory=dict)
    """(pieces, whether begin and end marks are added) -> ids that no content may give, and those that the pieces do."""
    apart: dict[frozenset[int], _Apart | None] = field(default_factory=dict)


_known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def encode_parts(tokenizer: Any, pieces: Sequence[str], contents: Sequence[str], *, add_special: bool) -> Tokens:
    """Token ids of pieces[0] + contents[0] + pieces[1] + ... + pieces[-1]; only `pieces` may give control tokens.

    Raises EngineError where a content holds a control token and this tokenizer cannot be made to read it as text.
    """
    known = _known.setdefault(tokenizer, _Known())
    key = (tuple(pieces), add_special)
    if key not in known.controls:
        known.controls[key] = _controls(tokenizer, pieces, add_special)
    control, wanted = known.controls[key]
    whole = _encoded(tokenizer, joined(pieces, contents), add_special)
    if _only(whole, control) == wanted:
        return whole
    if control not in known.apart:
        known.apart[control] = _set_apart(tokenizer, control)
    apart = known.apart[control]
    if apart is not None and _only(ids := apart.encode(pieces, contents, add_special=add_special), control) == wanted:
        return ids
    raise EngineError(
        f"a text in the prompt holds the control token {_first_in(tokenizer, contents, control)}, which the "
        f"tokenizer ({type(tokenizer).__name__}) cannot read as text",
        fix="take it out of the example, shot or passage, or write it with spaces between its letters",
    )


def joined(pieces: Sequence[str], contents: Sequence[str]) -> str:
    """pieces[0] + contents[0] + pieces[1] + ... + pieces[-1]"""
    parts = [part for pair in zip(pieces, contents, strict=False) for part in pair]
    return "".join([*parts, pieces[-1]])


def _controls(tokenizer: Any, pieces: Sequence[str], add_special: bool) -> tuple[frozenset[int], Tokens]:
    """Special tokens, and of the other added ones those that the template itself writes: they are its marks."""
    words = [WORD] * (len(pieces) - 1)
    ids = _encoded(tokenizer, joined(pieces, words), add_special)
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(i for i, entry in added.items() if entry.special)}
    control = frozenset((special | (set(ids) & set(added))) - _unknown(tokenizer))
    return control, _only(ids, control)


def _unknown(tokenizer: Any) -> set[int]:
    """The token for letters that the vocabulary lacks, where the model makes one: any text can give it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return {tokenizer.unk_token_id} - {None, tokenizer.eos_token_id}
    made = getattr(backend.model, "unk_token", None) or getattr(backend.model, "unk_id", None)
    return {tokenizer.unk_token_id} if made is not None else set()


def _encoded(tokenizer: Any, text: str, add_special: bool) -> Tokens:
    return tuple(tokenizer(text, add_special_tokens=add_special)["input_ids"])


def _only(ids: Sequence[int], control: frozenset[int]) -> Tokens:
    return tuple(i for i in ids if i in control)


def _set_apart(tokenizer: Any, control: frozenset[int]) -> _Apart | None:
    """None where the tokenizer is none of the library tokenizers, or cannot be copied."""
    from tokenizers import AddedToken, Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    try:
        copy = Tokenizer.from_str(backend.to_str())
    except Exception:  # noqa: BLE001 - the library raises no narrower one where a part is written in Python
        return None
    copy.no_truncation()
    copy.no_padding()
    names: dict[str, str] = {}
    added = []
    for entry in (copy.get_added_tokens_decoder()[i] for i in sorted(control & set(copy.get_added_tokens_decoder()))):
        entry.special = True
        copy.add_special_tokens([entry])  # a mark that was added as an ordinary token
        names[entry.content] = "".join(secrets.choice(ascii_lowercase) for _ in range(NAME_LETTERS))
        how = {"lstrip": entry.lstrip, "rstrip": entry.rstrip, "single_word": entry.single_word}
        added.append(AddedToken(names[entry.content], normalized=entry.normalized, special=False, **how))
    copy.add_tokens(added)
    copy.encode_special_tokens = True
    ids = {name: copy.token_to_id(name) for name in names.values()}
    meant = {own: tokenizer.convert_tokens_to_ids(token) for token, name in names.items() if (own := ids[name])}
    return _Apart(copy, names, meant) if names else None


def _first_in(tokenizer: Any, contents: Sequence[str], control: frozenset[int]) -> str:
    """The control token that a content holds, or that it makes together with what stands beside it."""
    for content in contents:
        for i in _only(_encoded(tokenizer, content, False), control):
            return f"'{visible(str(tokenizer.convert_ids_to_tokens(i)), limit=60)}'"
    return "that it forms with the words beside it"
