"""The stricter of two policies and of two gates, what changed between them, and their canonical content. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.trust.policy.types import Policy, PolicyInForce


def stricter_policy(a: Policy, b: Policy) -> Policy:
    """What satisfies both."""
    runtime = {
        key: a.runtime[key] & b.runtime[key] if key in a.runtime and key in b.runtime else allowed
        for key, allowed in {**a.runtime, **b.runtime}.items()
    }
    return Policy(
        required=a.required | b.required,
        evalsets=a.evalsets | b.evalsets,
        floors=_each(a.floors, b.floors, max),
        ceilings=_each(a.ceilings, b.ceilings, min),
        confidence=max(a.confidence, b.confidence),
        min_n=max(a.min_n, b.min_n),
        cache="off" if "off" in (a.cache, b.cache) else "base",
        unknown_training_data="error" if "error" in (a.unknown_training_data, b.unknown_training_data) else "warn",
        bases=a.bases + tuple(pin for pin in b.bases if pin not in a.bases),
        runtime=runtime,
    )


def _each(a: Mapping[str, float], b: Mapping[str, float], choose: Callable[[float, float], float]) -> dict[str, float]:
    return {key: choose(a.get(key, b.get(key, 0.0)), b.get(key, a.get(key, 0.0))) for key in {**a, **b}}


def tightened(gate: GateSpec, gate_name: str, in_force: PolicyInForce, n: int | None) -> GateSpec:
    """The gate with the strictest bound of the eval set here, the one at the ref, and the policy.

    `n` examples turn a share of leaks into a number; where it is None, a bound of the other unit is left out.
    """
    policy, before = in_force.policy, in_force.gates.get(gate_name)
    if gate.row.reads == "training rows":
        if before is not None:
            gate = _stricter_overlap(gate, before, n)
        if gate.kind in policy.ceilings:
            ceiling = replace(
                gate, bound=policy.ceilings[gate.kind], options={"max_rate": False, "excess_only": False, "train": []}
            )
            gate = _stricter_overlap(gate, ceiling, n)
        return gate
    limits = [gate.bound, *([before.bound] if before is not None else [])]
    ruled = policy.ceilings if gate.row.lower_is_stricter else policy.floors
    limits += [ruled[gate.kind]] if gate.kind in ruled else []
    return replace(gate, bound=gate.row.stricter(limits))


def _stricter_overlap(gate: GateSpec, other: GateSpec, n: int | None) -> GateSpec:
    """Both limits hold: the smaller one, every leak counted where one of the two counts every leak."""
    options = {
        **gate.options,
        "excess_only": bool(gate.options.get("excess_only")) and bool(other.options.get("excess_only")),
        "train": list(dict.fromkeys([*gate.options.get("train", ()), *other.options.get("train", ())])),
    }
    same_unit = bool(gate.options.get("max_rate")) == bool(other.options.get("max_rate"))
    lower = other.bound < gate.bound if same_unit else _allowed(other, n) < _allowed(gate, n)
    if lower:
        return replace(gate, bound=other.bound, options={**options, "max_rate": bool(other.options.get("max_rate"))})
    return replace(gate, options=options)


def _allowed(gate: GateSpec, n: int | None) -> float:
    """How many leaks a limit lets pass; without `n` nothing can be said of a share, except of none at all."""
    if not gate.options.get("max_rate") or gate.bound == 0:
        return gate.bound
    return math.inf if n is None else math.floor(gate.bound * n + 1e-9)


def bound_text(gate: GateSpec) -> str:
    """`accuracy.min 0.85`"""
    return f"{bound_key(gate)} {gate.bound:g}"


def bound_key(gate: GateSpec) -> str:
    """`accuracy.min`"""
    return f"{gate.kind}.{gate.row.bound_key(gate.options)}"


def gate_changes(name: str, before: GateSpec, here: GateSpec, used: GateSpec) -> list[str]:
    """How a gate differs from the one at the ref; `name` is the eval set's."""
    gate, changes = gate_name(name, here.kind), []
    if (bound_key(before), before.bound) != (bound_key(here), here.bound):
        there = f"{before.bound:g}" if bound_key(before) == bound_key(here) else bound_text(before)
        now = f"{here.bound:g}" if bound_key(before) == bound_key(here) else bound_text(here)
        changes.append(
            f"{gate}.{here.row.bound_key(here.options)} {there} -> {now}; the stricter {used.bound:g} was used"
        )
    skipped = ("max_rate",)
    for key in sorted({*before.options, *here.options} - set(skipped)):
        if before.options.get(key) != here.options.get(key):
            end = "; the stricter was used" if here.row.reads == "training rows" else ""
            changes.append(f"{gate}.{key} was changed{end}")
    return changes


def policy_changes(before: Policy, here: Policy, used: Policy, root: Path) -> list[str]:
    """How the rules differ from those at the ref, one sentence for each."""
    old, new, both = (_flat(canonical(policy, root)) for policy in (before, here, used))
    return [
        f"{key} {_written(old.get(key))} -> {_written(new.get(key))}; the stricter {_written(both.get(key))} was used"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def _written(value: Json) -> str:
    return "(not set)" if value in (None, [], {}) else json.dumps(value, sort_keys=True)


def _flat(content: Mapping[str, Json]) -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, value in content.items():
        nested = key in ("floors", "ceilings", "runtime")
        flat.update({f"{key}.{inner}": item for inner, item in value.items()} if nested else {key: value})
    return flat


def canonical(policy: Policy, root: Path) -> dict[str, Json]:
    """The rules as JSON values in one order; paths are relative to `root`."""
    return {
        "required": sorted(policy.required),
        "evalsets": sorted(Path(os.path.relpath(path, root)).as_posix() for path in policy.evalsets),
        "floors": {key: float(value) for key, value in policy.floors.items()},
        "ceilings": {key: float(value) for key, value in policy.ceilings.items()},
        "confidence": float(policy.confidence),
        "min_n": policy.min_n,
        "cache": policy.cache,
        "unknown_training_data": policy.unknown_training_data,
        "base": [asdict(pin) for pin in policy.bases],
        "runtime": {key: sorted(allowed) for key, allowed in policy.runtime.items()},
    }


def policy_digest(policy: Policy, gates: Iterable[tuple[str, GateSpec]], root: Path) -> str:
    """sha256 over the rules and over every gate as an eval set, here or at the ref, writes it."""
    written = sorted(
        json.dumps([name, gate.kind, gate.bound, dict(gate.options)], sort_keys=True, allow_nan=False)
        for name, gate in gates
    )
    content = {"policy": canonical(policy, root), "gates": list(dict.fromkeys(written))}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
