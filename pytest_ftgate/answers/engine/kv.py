"""Keys and values of prompts: a prefix computed once, and a cache with room for the answers.

transformers' own DynamicCache copies everything on every new token, and everything again when a row leaves. Here a
layer is one buffer of (rows, heads, room, head size): a token is written in place, and the last row moves into the
place of one that has ended. The next batch on the same prefix finds it in every row: memory that is asked for anew is
cleared by the system and filled again, which took longer than many a forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from pytest_ftgate.answers.engine.prefix import Tokens, shared_length


@cache
def _layer_class() -> Any:
    import torch
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
        """A DynamicLayer that writes into a buffer; `keys` and `values` are views of the part in use."""

        def __init__(self, rows: int, room: int) -> None:
            super().__init__()
            self.rows, self.room, self.used, self.shared = rows, room, 0, 0

        def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
            self.dtype, self.device = key_states.dtype, key_states.device
            shapes = [(self.rows, s.shape[1], self.room, s.shape[3]) for s in (key_states, value_states)]
            self.all_keys, self.all_values = (torch.empty(s, dtype=self.dtype, device=self.device) for s in shapes)
            self.is_initialized = True

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            end = self.used + key_states.shape[-2]
            self.all_keys[: self.rows, :, self.used : end] = key_states
            self.all_values[: self.rows, :, self.used : end] = value_states
            self.show(self.rows, end)
            return self.keys, self.values

        def show(self, rows: int, used: int) -> None:
            self.rows, self.used = rows, used
            self.keys, self.values = self.all_keys[:rows, :, :used], self.all_values[:rows, :, :used]

        def move(self, source: int, target: int) -> None:
            for held in (self.all_keys, self.all_values):
                held[target, :, self.shared : self.used] = held[source, :, self.shared : self.used]

    return RoomyLayer


def roomy_cache(rows: int, room: int) -> Any:
    """A transformers Cache for `rows` rows of at most `room` tokens, empty."""
    from transformers.cache_utils import Cache

    return Cache(layer_class_to_replicate=partial(_layer_class(), rows, room))


def forget_after(kv: Any, tokens: int) -> None:
    """Keep the first `tokens` tokens of every row."""
    for layer in kv.layers:
        layer.show(layer.rows, tokens)


def keep_rows(kv: Any, kept: Sequence[int]) -> None:
    """Row i becomes what row `kept[i]` was. As `survivors` gives them: only rows at the end change their place."""
    for layer in kv.layers:
        for target, source in enumerate(kept):
            if source != target:
                layer.move(source, target)
        layer.show(len(kept), layer.used)


def survivors(rows: int, ended: Sequence[int]) -> list[int]:
    """Rows that go on, each in its old place, and those at the end in the places of rows that have ended."""
    gone = set(ended)
    left = rows - len(gone)
    late = [row for row in range(left, rows) if row not in gone]
    return [row if row not in gone else late.pop() for row in range(left)]


@dataclass(slots=True)
class PrefixStore:
    """The keys and values of the last prefix: the next batch, group or call often needs them again. Mutable."""

    side: bool | None = None
    ids: Tokens = ()
    layers: list[tuple[Any, Any]] = field(default_factory=list)
    """(keys, values) of each layer, each (1, heads, tokens, head size)"""
    batch: _Batch | None = None
    """The cache of the last batch."""

    def clear(self) -> None:
        self.side, self.ids, self.layers, self.batch = None, (), [], None

    def known(self, *, tuned: bool) -> Tokens:
        """The prefix at hand for that side."""
        return self.ids if self.side == tuned else ()

    @contextmanager
    def lending(self) -> Iterator[None]:
        """While answers are made; afterwards the memory of the last batch is given back."""
        try:
            yield
        finally:
            self.batch = None

    def held_bytes(self) -> int:
        """Memory of the last batch's cache, which the next one may take over."""
        layers = self.batch.kv.layers if self.batch else ()
        return sum(int(held.nbytes) for layer in layers for held in (layer.all_keys, layer.all_values))

    def cache_on(self, model: Any, ids: Tokens, *, rows: int, room: int, tuned: bool) -> Any:
        """A cache for `rows` rows of at most `room` tokens, each beginning with `ids`; the one before is taken back."""
        last = self.batch
        if last is None or (last.tuned, last.ids) != (tuned, ids) or last.rows < rows or last.room < room:
            self.batch = last = None  # before the next is made: one is what there is memory for
            kv = roomy_cache(rows, room)
            self._fill(kv, model, ids, tuned=tuned)
            self.batch = last = _Batch(kv, tuned, ids, rows, room)
        for layer in last.kv.layers:
            layer.shared = len(ids)
            layer.show(rows, len(ids))
        return last.kv

    def _fill(self, kv: Any, model: Any, ids: Tokens, *, tuned: bool) -> None:
        """Put the prefix `ids` into every row of an empty cache, computing what is not at hand."""
        if not ids:
            return
        at_hand = shared_length(self.known(tuned=tuned), ids)
        if at_hand < len(ids):
            self._compute(model, ids, at_hand)
            self.side, self.ids = tuned, ids
        for index, (keys, values) in enumerate(self.layers):
            kv.update(keys[:, :, : len(ids)], values[:, :, : len(ids)], index)

    def _compute(self, model: Any, ids: Tokens, at_hand: int) -> None:
        import torch

        single = roomy_cache(1, len(ids))
        for index, (keys, values) in enumerate(self.layers if at_hand else ()):
            single.update(keys[:, :, :at_hand], values[:, :, :at_hand], index)
        self.clear()
        rest = torch.tensor([ids[at_hand:]], device=model.device)
        places = torch.arange(at_hand, len(ids), device=model.device)[None]
        model(input_ids=rest, position_ids=places, past_key_values=single, use_cache=True, logits_to_keep=1)
        self.layers = [(layer.keys, layer.values) for layer in single.layers]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A cache whose rows all begin with `ids`, as one side computed them."""

    kv: Any
    tuned: bool
    ids: Tokens
    rows: int
    """Rows and tokens a row that its buffers have room for."""
    room: int
