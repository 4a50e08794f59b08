"""Holding a run to its policy: before it (the base), at each gate (bound, min_n), and at its end (what is missing)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.evalset.discovery import EvalSetFile
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import listed
from pytest_ftgate.model.identity import HUB_BASE, Candidate
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.merge import bound_text
from pytest_ftgate.trust.policy.types import BasePin, Policy, PolicyInForce

FACTS = {"dtype": "dtype", "quantize": "quantize", "device": "device_type"}
"""Key of `[runtime]` -> the engine's word for what was used."""


def check_base(policy: Policy, candidate: Candidate, option: str | None) -> None:
    """The base is the pinned one; `option` is `--ft-base`. Hashes the base. Raises PolicyError."""
    for pin in policy.bases:
        if pin.digest is not None and candidate.digest(tuned=False) != pin.digest:
            found = candidate.digest(tuned=False)[:12]
            raise _other_base(candidate, f"base.digest is {pin.digest[:12]}..., its files give {found}...")
        differ = sorted(name for name, digest in pin.files.items() if candidate.base_files.get(name) != digest)
        if differ:
            raise _other_base(candidate, f"{listed(differ, limit=4)} differ from base.files")
        _check_claims(pin, candidate, option)


def _check_claims(pin: BasePin, candidate: Candidate, option: str | None) -> None:
    """Id and revision, as far as something says them; where nothing does, the bytes must be pinned."""
    hub = HUB_BASE.fullmatch(option) if option is not None else None
    record = candidate.manifest.base if candidate.manifest else None
    said = {
        "id": hub["id"] if hub else record.id if record else None,
        "revision": hub["revision"] if hub else record.revision if record else None,
    }
    proven = pin.digest is not None or bool(pin.files)
    for key, wanted in (("id", pin.id), ("revision", pin.revision)):
        found = said[key]
        if wanted is None or found == wanted or (found is None and proven):
            continue
        if found is None:
            raise _other_base(candidate, f"base.{key} is {wanted}, and nothing tells the {key} of this directory")
        raise _other_base(candidate, f"base.{key} is {wanted}, this one's is {found}")


def _other_base(candidate: Candidate, why: str) -> PolicyError:
    return PolicyError(
        f"the policy pins another base than {candidate.base_path.name}: {why}",
        fix="give the pinned base with --ft-base, and a candidate that was trained on it; or change [base] in the "
        "policy (digest: `base_digest` in the file of --ft-json)",
    )


def overruled(asked: GateSpec, used: GateSpec) -> str:
    """`accuracy.min 0.85 is used, the eval set asks for 0.6`. Empty where the eval set's own bound stands."""
    every = bool(asked.options.get("excess_only")) and not used.options.get("excess_only")
    counted = "; every leak counts, also where excess_only is written" if every else ""
    if bound_text(asked) == bound_text(used):
        return counted.removeprefix("; ")
    return f"{bound_text(used)} is used, the eval set asks for {bound_text(asked).split()[1]}{counted}"


def settle(policy: Policy, asked: GateSpec, used: GateSpec, verdict: Verdict) -> Verdict:
    """The Verdict after `min_n` and `unknown_training_data`; says where the bound is not the eval set's own."""
    if verdict.reason == "UnknownTraining" and policy.unknown_training_data == "warn":
        return replace(
            verdict,
            outcome="PASS",
            fix="",
            summary=f"not judged, which the policy allows (unknown_training_data): {verdict.summary}",
        )
    if said := overruled(asked, used):
        verdict = replace(verdict, summary=f"{verdict.summary}; by the policy, {said}")
    n = judged_on(verdict)
    if not KINDS[verdict.kind].asks_model or verdict.outcome != "PASS" or n >= policy.min_n:
        return verdict
    return replace(
        verdict,
        outcome="INCONCLUSIVE",
        reason="MIN_N",
        summary=f"{verdict.summary}; passed on {n}, and the policy asks for at least {policy.min_n} (min_n)",
        fix=f"add {policy.min_n - n} examples that ask other things",
    )


def judged_on(verdict: Verdict) -> int:
    """Units that a pass rests on: where examples stand in the training data, the clean ones.

    Where asking stopped because the rest could change nothing, the pass is one of all that was planned.
    """
    planned = verdict.details.get("planned")
    if isinstance(planned, int) and "stopped_early_after" not in verdict.details:
        return planned
    contamination = verdict.details.get("contamination")
    clean = contamination.get("clean") if isinstance(contamination, Mapping) else None
    return min(verdict.n, clean["n"]) if isinstance(clean, Mapping) else verdict.n


def unmet(in_force: PolicyInForce, files: Sequence[EvalSetFile], engine: Mapping[str, Json]) -> tuple[str, ...]:
    """Rules that this run did not evaluate or that it broke, one sentence each: with any, nothing ships.

    `engine` is what the engine says of itself; {} where no model was run.
    """
    policy = in_force.policy
    kinds = {gate.kind for file in files for gate in file.gates}
    missing = sorted(policy.required - kinds)
    reasons = [f"the policy requires a gate of kind {kind}, and no eval set here has one" for kind in missing]
    reasons += [
        f"the policy has a bound for {kind}, and no eval set here has such a gate, so nothing evaluated it"
        for kind in sorted({*policy.floors, *policy.ceilings} - kinds - policy.required)
    ]
    reasons += [
        f"{name} stands at {in_force.ref} and was deleted here or left out by configuration, so it was not judged"
        for name in in_force.deleted
    ]
    if policy.min_n > 1 and not any(KINDS[kind].asks_model for kind in kinds):
        reasons.append("the policy has a min_n, and no gate here asks a model, so nothing evaluated it")
    return (*reasons, *_runtime(policy, engine), *_base_again(policy, engine))


def _runtime(policy: Policy, engine: Mapping[str, Json]) -> Iterable[str]:
    for key, allowed in sorted(policy.runtime.items()):
        wanted = listed(sorted(allowed), last="or") or "nothing (what it allowed before and what it allows now differ)"
        found = engine.get(FACTS[key])
        if found is None:
            yield f"the policy asks for {key} {wanted}, and no model was run that tells its {key}"
        elif found not in allowed:
            yield f"the policy asks for {key} {wanted}, and the models ran with {found}"


def _base_again(policy: Policy, engine: Mapping[str, Json]) -> Iterable[str]:
    """What answered is the pinned base too: between the options and the load, files may have been replaced."""
    digests = {pin.digest for pin in policy.bases if pin.digest is not None}
    if engine and digests - {engine.get("base_digest")}:
        yield "the base that answered is not the one that the policy pins"


def left_out(policy: Policy, files: Sequence[EvalSetFile], root: Path) -> str:
    """Why this run is a subset: eval sets that the policy names and pytest was not given. Empty if all are there."""
    here = {file.path.resolve() for file in files}
    names = [_relative(path, root) for path in sorted(policy.evalsets) if path not in here]
    if not names:
        return ""
    were = "was" if len(names) == 1 else "were"
    return f"{listed(names, limit=4)} {were} not part of the run, and the policy asks for it; a subset never ships"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def waived(verdicts: Iterable[Verdict]) -> list[str]:
    """Gates that count as passed only because the policy allows that they were not judged."""
    return [v.gate for v in verdicts if v.outcome == "PASS" and v.reason == "UnknownTraining"]
