"""Measured noise: how often the base differs from itself, run in another way. Pure, and one file.

Greedy answers depend on batch size and dtype, since floating-point sums do. Any flip rate below the one measured here
is not evidence of forgetting; it is also the flip rate to plan eval sets with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import read_json
from pytest_ftgate.files.wording import shown
from pytest_ftgate.gates.given import scores_of
from pytest_ftgate.results import Generation

CALIBRATION = Path(".ftgate", "calibration.json")
VERSION = 2
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Noise:
    """The base asked the same prompts twice, and one thing changed in between."""

    evalset: str
    asked: str
    """`asked_digest`: what was asked, and how answers are scored."""
    base: str
    """Candidate.digest of the base."""
    device: str
    dtype: str
    """Of the first time."""
    changed: str
    """`batch 64 -> 8` · `float32 -> bfloat16` · `none -> nf4`"""
    n: int
    """Examples."""
    differ: int
    """Examples whose answer is another text."""
    gains: int | None
    """Examples that score higher the second time; None where the eval set has no scorer."""
    losses: int | None
    """Examples that score lower the second time."""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def flips(self) -> int | None:
        """Examples whose score changed."""
        return None if self.gains is None or self.losses is None else self.gains + self.losses

    @property
    def flip_rate(self) -> float:
        """Their share of all examples; 0 where the eval set has no scorer."""
        return (self.flips or 0) / self.n

    @property
    def is_quantised(self) -> bool:
        """Whether weights were quantised in between: damage to compare with, not noise."""
        return self.changed.endswith("nf4")

    def interval(self, count: int) -> tuple[float, float]:
        """Exact two-sided 95% interval (Clopper & Pearson 1934) for the share that `count` of n examples are."""
        return stats.clopper_pearson(count, self.n, confidence=CONFIDENCE)


def asked_digest(evalset: EvalSet) -> str:
    """sha256 over examples, task prompt, scorer and generation settings; bounds and rungs are left out."""
    content = [
        sorted([e.id, json.dumps([dict(e.fields), e.target], sort_keys=True)] for e in evalset.examples),
        asdict(evalset.prompt),
        asdict(evalset.scorer) if evalset.scorer else None,
        asdict(evalset.generation),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def measure_noise(
    evalset: EvalSet,
    first: Mapping[str, Generation],
    second: Mapping[str, Generation],
    *,
    base: str,
    device: str,
    dtype: str,
    changed: str,
) -> Noise:
    """Compare two runs (example id -> Generation) of the base.

    Raises ScoringError where an example could not be answered or an answer not be scored.
    """
    lost = [e.id for e in evalset.examples if "error" in (first[e.id].finish_reason, second[e.id].finish_reason)]
    if lost:
        raise ScoringError(
            f"{len(lost)} of {len(evalset.examples)} examples of {evalset.name} could not be answered, first {lost[0]}",
            fix="shorten the prompt, or lower generation.max_new_tokens",
        )
    gains = losses = None
    if evalset.scorer is not None:
        pairs = list(zip(scores_of(evalset, first), scores_of(evalset, second), strict=True))
        gains = sum(b.value > a.value for a, b in pairs)
        losses = sum(b.value < a.value for a, b in pairs)
    return Noise(
        evalset=evalset.name,
        asked=asked_digest(evalset),
        base=base,
        device=device,
        dtype=dtype,
        changed=changed,
        n=len(evalset.examples),
        differ=sum(first[e.id].text != second[e.id].text for e in evalset.examples),
        gains=gains,
        losses=losses,
    )


def noise_of(found: Iterable[Noise], evalset: EvalSet, *, base: str) -> Noise | None:
    """What flipped most without quantisation, on this eval set with this base (its digest); None where nothing did."""
    asked = asked_digest(evalset)
    fitting = [n for n in found if (n.asked, n.base) == (asked, base) and n.flips is not None and not n.is_quantised]
    return max(fitting, key=lambda n: n.flip_rate, default=None)


def newest_noise(found: Iterable[Noise], evalset: EvalSet) -> Noise | None:
    """As `noise_of`, with the base that was asked this eval set last."""
    kept, asked = list(found), asked_digest(evalset)
    newest = max((n for n in kept if n.asked == asked), key=lambda n: n.time, default=None)
    return noise_of(kept, evalset, base=newest.base) if newest else None


def noise_of_batches(found: Iterable[Noise], engine: Mapping[str, Json], evalsets: Iterable[EvalSet]) -> list[Json]:
    """What another batch size alone changed, for each eval set where that was measured on what the engine runs.

    Strict JSON: {evalset, n, differ, flips (null without a scorer), changed}.
    """
    asked = {asked_digest(evalset): evalset.name for evalset in evalsets}
    runs = tuple(engine.get(name) for name in ("base_digest", "device", "dtype"))
    fitting = [
        n for n in found if n.asked in asked and n.changed.startswith("batch ") and (n.base, n.device, n.dtype) == runs
    ]
    return [
        {"evalset": asked[n.asked], "n": n.n, "differ": n.differ, "flips": n.flips, "changed": n.changed}
        for n in sorted(fitting, key=lambda n: asked[n.asked])
        if engine.get("quantize") == "none"  # it is never measured in 4 bits
    ]


def read_calibration(root: Path) -> tuple[Noise, ...]:
    """What `pytest-ftgate calibrate` stored below pytest's root directory; () where it never ran.

    Raises InputError where the file is not what it wrote.
    """
    path = root / CALIBRATION
    if not path.is_file():
        return ()
    loaded = read_json(path)
    if isinstance(loaded, dict) and loaded.get("version") == VERSION and isinstance(loaded.get("noise"), list):
        found = [_noise(value) for value in loaded["noise"]]
        if all(found):
            return tuple(n for n in found if n)
    what = f"expected a calibration of version {VERSION}, found something else"
    raise InputError([Problem(shown(path), None, "", what, "remove the file and run `pytest-ftgate calibrate` again")])


def store_calibration(root: Path, measured: Sequence[Noise]) -> Path:
    """Add to what is stored; a newer measurement of the same thing takes the place of the old one.

    Raises InputError where the stored file cannot be read, OSError where it cannot be written.
    """
    path = root / CALIBRATION
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(f"{path}.lock"):
        kept = {_key(n): n for n in (*read_calibration(root), *measured)}
        content = {"version": VERSION, "noise": [asdict(n) for n in kept.values()]}
        write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def _key(n: Noise) -> tuple[str, ...]:
    return n.asked, n.base, n.device, n.dtype, n.changed


def _noise(value: Any) -> Noise | None:
    """The Noise that was stored; None where the value is another shape."""
    counts = ("n", "differ", "gains", "losses")
    if not isinstance(value, dict) or set(value) != {f.name for f in fields(Noise)}:
        return None
    if not all(isinstance(value[name], str) for name in value if name not in counts):
        return None
    scored = value["gains"] is not None
    known = counts if scored else ("n", "differ")
    if not all(type(value[name]) is int and 0 <= value[name] <= value["n"] for name in known) or value["n"] < 1:
        return None
    return Noise(**value) if scored or value["losses"] is None else None
