"""The table of gate kinds: everything that tells one kind from another, one row a kind.

Whoever needs to know what a kind is asks its row, and no code compares names of kinds. A kind without a row is an
error wherever it turns up (`KINDS[name]` raises UnknownGateKind): it is never judged, loosened or counted as another.

The functions that judge a kind live above this room, in `gates/judge.py`; the shapes that files may have, in
`evalset.schema.json` and `trust/policy/policy.schema.json`. Tests hold all three to this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_ftgate.errors import UnknownGateKind
from pytest_ftgate.files.json_value import Json

if TYPE_CHECKING:  # collecting gates needs no scipy
    from pytest_ftgate.stats import GateTest

Reads = Literal["training rows", "format", "scores", "tokens"]
"""What a kind judges: the rows that a model was trained on, or format, scores or numbers of tokens of its answers."""
References = Literal["none", "rungs", "named rung", "base"]
"""What the candidate's answers are compared with: nothing, every rung of `baselines`, the one that the option
`of` of the gate names, or the base model."""
Shown = Literal["leaks", "share", "difference", "ratio"]
"""How value and bound are written: examples leaked, a share of the examples, a difference or a ratio to a reference."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The key of a gate that holds its bound, and what may be written there."""

    key: str
    low: float = 0.0
    high: float | None = 1.0
    """Not allowed itself; None: there is no highest bound."""
    low_allowed: bool = True
    whole: bool = False
    """Whether it is a whole number."""


@dataclass(frozen=True, slots=True)
class KindRow:
    """What one kind of gate is."""

    name: str
    bounds: tuple[Bound, ...]
    """Exactly one of these keys is written; the first is the usual one."""
    lower_is_stricter: bool
    reads: Reads
    shown: Shown
    references: References = "none"
    test: GateTest | None = None
    """The test of its bad null; None where nothing is tested. Only what is tested is planned, may
    have slices with bounds, takes a share of alpha, and makes of a run an attempt on its examples."""
    curtailed: bool = False
    """Whether counts of right scores, or of answers that obey, decide it. Then the proof of `gates/curtailment.py`
    covers it, and examples that can change nothing are not asked."""
    defaults: Mapping[str, Json] = field(default_factory=dict)
    """Options that hold where they are not written."""
    flips: float = 0.0
    """Assumed for planning: share of examples on which candidate and reference differ. Paired tests only."""
    flips_planned: tuple[float, ...] = ()
    """Such shares that `pytest-ftgate plan` makes a table of."""
    missed: bool = True
    """Whether a run in which no eval set has such a gate says so."""

    @property
    def asks_model(self) -> bool:
        """Whether it is judged from the candidate's answers."""
        return self.reads != "training rows"

    @property
    def scores(self) -> bool:
        """Whether it needs the answers scored, so that the eval set must have a scorer."""
        return self.reads == "scores"

    @property
    def reads_texts(self) -> bool:
        """Whether it needs answers as they are generated, also where the scorer only weighs labels."""
        return self.asks_model and not self.scores

    @property
    def counted(self) -> bool:
        """Whether judging it is an attempt on the examples: it tests a hypothesis, and may pass by luck."""
        return self.test is not None

    @property
    def paired(self) -> bool:
        """Whether it tests a difference to a reference, example by example."""
        return self.test in ("superiority", "non_inferiority")

    def delta0(self, bound: float) -> float:
        """Of a paired kind: the bad null says that the difference is at most this."""
        if not self.paired:
            raise ValueError(f"{self.name} tests no difference")
        return -bound if self.test == "non_inferiority" else bound

    def null_bound(self, bound: float) -> float:
        """The bound as results show it: delta0 of a paired kind, else as it is written."""
        return self.delta0(bound) if self.paired else bound

    def hypotheses(self, rungs: int) -> int:
        """How many bad nulls one such gate tests, where the eval set has so many rungs."""
        if self.test is None:
            return 0
        return rungs if self.references == "rungs" else 1

    def bound_key(self, options: Mapping[str, Json] | None = None) -> str:
        """The key that holds the bound; `options`: the gate as it is written, where there is more than one key."""
        # As a GateSpec holds them, the other keys are True or False: whether the bound is that one.
        written = [bound.key for bound in self.bounds if options and options.get(bound.key, False) is not False]
        return written[0] if written else self.bounds[0].key

    def stricter(self, bounds: Iterable[float]) -> float:
        """The strictest of these bounds, which are of one key."""
        return min(bounds) if self.lower_is_stricter else max(bounds)


class _Kinds(dict[str, KindRow]):
    def __missing__(self, name: str) -> KindRow:
        raise UnknownGateKind(
            f"expected a gate of kind {', '.join(self)}, found {str(name)[:64]!r}",
            fix="correct the kind; a new kind needs a row in pytest_ftgate/evalset/kinds.py",
        )


_ROWS = (
    KindRow(
        "overlap",
        (Bound("max", high=None, whole=True), Bound("max_rate")),
        lower_is_stricter=True,
        reads="training rows",
        shown="leaks",
        defaults={"excess_only": False, "train": []},
    ),
    KindRow(
        "format",
        (Bound("min_rate", low_allowed=False),),
        lower_is_stricter=False,
        reads="format",
        shown="share",
        test="floor",
        curtailed=True,
    ),
    KindRow(
        "accuracy",
        (Bound("min", low_allowed=False),),
        lower_is_stricter=False,
        reads="scores",
        shown="share",
        test="floor",
        curtailed=True,
    ),
    KindRow(
        "beats_baseline",
        (Bound("min_gain"),),
        lower_is_stricter=False,
        reads="scores",
        shown="difference",
        references="rungs",
        test="superiority",
        curtailed=True,
        flips=0.20,
        flips_planned=(0.15, 0.20, 0.30, 0.40),
    ),
    KindRow(
        "forgetting",
        (Bound("max_drop"),),
        lower_is_stricter=True,
        reads="scores",
        shown="difference",
        references="base",
        test="non_inferiority",
        curtailed=True,
        flips=0.05,
        flips_planned=(0.02, 0.05, 0.10, 0.20),
    ),
    # Counted and not estimated: a candidate cannot pass it by luck, so it spends no alpha and is no attempt.
    KindRow(
        "cost",
        (Bound("max_ratio", low_allowed=False, high=None),),
        lower_is_stricter=True,
        reads="tokens",
        shown="ratio",
        references="named rung",
        missed=False,
    ),
)

KINDS: dict[str, KindRow] = _Kinds({row.name: row for row in _ROWS})
"""Name -> row, in the order in which reports name kinds. `KINDS[name]` raises UnknownGateKind for any other name."""


def gate_name(evalset: str, kind: str) -> str:
    """`tickets::accuracy`: the name of a gate in reports, files and node ids. Raises UnknownGateKind."""
    return f"{evalset}::{KINDS[kind].name}"
