"""The table of training methods: everything that tells one method from another, one row a method.

Whoever needs to know what a method does asks its row, and no code compares names of methods. A new method is a row
here, its name in training.schema.json, and, where no trainer of the table fits, a file with its trainer factory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Trains = Literal["adapter", "model"]
Rows = Literal["answers", "pairs"]
"""Rows with the answer to learn, or pairs of a chosen and a rejected answer."""
InFourBits = Literal["never", "where written", "always"]
"""Whether the base is held in 4 bits: `where written`: where the training file has `quantization`."""


class UnknownMethod(ValueError):
    """A training method that has no row in the table."""


@dataclass(frozen=True, slots=True)
class MethodRow:
    """What one training method is."""

    name: str
    trains: Trains
    rows: Rows
    in_4_bits: InFourBits
    section: str
    """The key of the training file that holds its trainer's settings."""
    arguments: str
    """`module:class` that the settings are given to; imported when training begins."""
    trainer: str
    """`module:function` (Checked, arguments, ProgressLine) -> a transformers Trainer; imported when training begins."""
    has_teacher: bool = False
    """Whether a teacher answers prompts, which are then the rows."""

    def make_arguments(self, **settings: Any) -> Any:
        """The settings as the trainer's library takes them. Raises what that library raises."""
        return _imported(self.arguments)(**settings)

    def make_trainer(self, checked: Any, arguments: Any, line: Any) -> Any:
        """The trainer on the loaded base (training/trainers.py). Raises TrainingDataError."""
        return _imported(self.trainer)(checked, arguments, line)


def _imported(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


class _Methods(dict[str, MethodRow]):
    def __missing__(self, name: str) -> MethodRow:
        raise UnknownMethod(
            f"expected a method of {', '.join(self)}, found {str(name)[:64]!r}. Fix: correct the method; a new one "
            "needs a row in training/methods.py"
        )


_SFT = ("sft", "trl:SFTConfig", "training.trainers:sft")
_DPO = ("dpo", "trl:DPOConfig", "training.trainers:dpo")
_ROWS = (
    MethodRow("lora", "adapter", "answers", "never", *_SFT),
    MethodRow("qlora", "adapter", "answers", "always", *_SFT),
    MethodRow("full", "model", "answers", "never", *_SFT),
    MethodRow("dpo", "adapter", "pairs", "where written", *_DPO),
    MethodRow("distill", "adapter", "answers", "where written", *_SFT, has_teacher=True),
)

METHODS: dict[str, MethodRow] = _Methods({row.name: row for row in _ROWS})
"""Name -> row, in the order in which messages name methods. `METHODS[name]` raises UnknownMethod for any other name."""

PLAIN = METHODS["lora"]
"""What messages advise who needs no other, and how a teacher is loaded: an adapter on the base as it is."""


def names_where(wanted: Callable[[MethodRow], bool]) -> str:
    """The names of the methods of which this holds, as messages list them."""
    return ", ".join(row.name for row in METHODS.values() if wanted(row))


def sections() -> tuple[str, ...]:
    """Every key of a training file that holds settings of a trainer."""
    return tuple(dict.fromkeys(row.section for row in METHODS.values()))
