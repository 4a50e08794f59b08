"""The stricter of two: never looser than either, whatever the two say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.evalset.discovery import EvalSetFile
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.enforce import settle, unmet
from pytest_ftgate.trust.policy.merge import canonical, gate_changes, policy_digest, stricter_policy, tightened
from pytest_ftgate.trust.policy.types import BasePin, Policy, PolicyInForce

ROOT = Path("/project")
fractions = st.floats(0.01, 0.99)
KINDS = ("overlap", "format", "accuracy", "beats_baseline", "forgetting")


def some(keys: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), values)


policies = st.builds(
    Policy,
    required=st.frozensets(st.sampled_from(KINDS)),
    evalsets=st.frozensets(st.sampled_from([ROOT / "a.eval.yaml", ROOT / "b" / "c.eval.yaml"])),
    floors=some(("accuracy", "format", "beats_baseline"), fractions),
    ceilings=some(("forgetting",), fractions),
    confidence=st.floats(0.95, 0.9999),
    min_n=st.integers(1, 1000),
    cache=st.sampled_from(["base", "off"]),
    unknown_training_data=st.sampled_from(["error", "warn"]),
    bases=st.lists(st.builds(BasePin, digest=st.sampled_from(["a" * 64, "b" * 64])), max_size=1).map(tuple),
    runtime=some(("dtype", "device"), st.frozensets(st.sampled_from("xyz"), min_size=1)),
)


def gate(kind: Any, bound: float, **options: Any) -> GateSpec:
    return GateSpec(kind, bound, options, 9)


@given(policies, policies)
def test_the_stricter_policy_is_as_strict_as_either(a: Policy, b: Policy) -> None:
    both = stricter_policy(a, b)
    for each in (a, b):
        assert both.required >= each.required
        assert both.evalsets >= each.evalsets
        assert all(both.floors[key] >= value for key, value in each.floors.items())
        assert all(both.ceilings[key] <= value for key, value in each.ceilings.items())
        assert both.alpha <= each.alpha
        assert both.min_n >= each.min_n
        assert both.cache == "off" or each.cache == "base"
        assert both.unknown_training_data == "error" or each.unknown_training_data == "warn"
        assert all(pin in both.bases for pin in each.bases)
        assert all(both.runtime[key] <= allowed for key, allowed in each.runtime.items())


@given(policies, policies)
def test_order_does_not_matter_and_nothing_is_made_up(a: Policy, b: Policy) -> None:
    assert stricter_policy(a, a) == a
    assert stricter_policy(a, Policy(unknown_training_data="warn")) == a
    one, other = (canonical(stricter_policy(*pair), ROOT) for pair in ((a, b), (b, a)))
    assert sorted(map(str, one.pop("base"))) == sorted(map(str, other.pop("base")))
    assert one == other


@given(st.sampled_from(KINDS[1:]), fractions, st.none() | fractions, st.none() | fractions)
def test_a_gate_gets_the_strictest_of_all_bounds(kind: str, here: float, ref: float | None, rule: float | None) -> None:
    rules = {} if rule is None else {kind: rule}
    falls = kind == "forgetting"
    policy = Policy(ceilings=rules) if falls else Policy(floors=rules)
    in_force = PolicyInForce(policy, gates={} if ref is None else {"t::g": gate(kind, ref)})
    bounds = [bound for bound in (here, ref, rule) if bound is not None]
    assert tightened(gate(kind, here), "t::g", in_force, 50).bound == (min(bounds) if falls else max(bounds))
    assert tightened(gate(kind, here), "other::g", PolicyInForce(), 50).bound == here


@pytest.mark.parametrize(
    ("here", "ref", "ceiling", "n", "expected"),
    [
        ((3, False), None, 0, 50, (0, False)),
        ((0.1, True), None, 0, 50, (0, False)),
        ((0.1, True), None, 0, None, (0, False)),
        ((0.1, True), None, 3, 50, (3, False)),  # 10 % of 50 would be 5
        ((0.02, True), None, 3, 50, (0.02, True)),
        ((0.1, True), None, 3, None, (3, False)),
        ((2, False), (0.02, True), None, 50, (0.02, True)),
        ((2, False), (0.02, True), None, None, (2, False)),
        ((0.5, True), (0.02, True), None, None, (0.02, True)),
        ((0, False), (5, False), 9, 50, (0, False)),
    ],
)
def test_leaks_in_numbers_and_in_shares(here: Any, ref: Any, ceiling: Any, n: Any, expected: Any) -> None:
    def overlap(limit: Any, **more: Any) -> GateSpec:
        return gate("overlap", limit[0], max_rate=limit[1], train=[], **{"excess_only": False, **more})

    policy = Policy(ceilings={} if ceiling is None else {"overlap": ceiling})
    in_force = PolicyInForce(policy, gates={"t::overlap": overlap(ref)} if ref else {})
    used = tightened(overlap(here), "t::overlap", in_force, n)
    assert (used.bound, used.options["max_rate"]) == expected


def test_every_leak_counts_where_policy_or_ref_count_every_leak() -> None:
    loose = gate("overlap", 0, max_rate=False, excess_only=True, train=["a"])
    strict = gate("overlap", 0, max_rate=False, excess_only=False, train=["b"])
    at_ref = tightened(loose, "t::overlap", PolicyInForce(gates={"t::overlap": strict}), 9)
    assert at_ref.options == {"max_rate": False, "excess_only": False, "train": ["a", "b"]}
    assert not tightened(loose, "t::overlap", PolicyInForce(Policy(ceilings={"overlap": 0})), 9).options["excess_only"]
    assert tightened(loose, "t::overlap", PolicyInForce(), 9).options["excess_only"]


def test_changes_of_a_gate_are_told_with_what_was_used() -> None:
    here, before = gate("accuracy", 0.6), gate("accuracy", 0.85)
    assert gate_changes("tickets", before, here, before) == [
        "tickets::accuracy.min 0.85 -> 0.6; the stricter 0.85 was used"
    ]
    assert gate_changes("tickets", here, here, here) == []
    rules = gate("format", 0.9, regex="a"), gate("format", 0.9, regex="b")
    assert gate_changes("tickets", *rules, rules[1]) == ["tickets::format.regex was changed"]


# -- digest ------------------------------------------------------------------------------------------------------------


@given(policies, policies)
def test_the_digest_is_that_of_the_rules(a: Policy, b: Policy) -> None:
    gates = [("t::accuracy", gate("accuracy", 0.5)), ("u::accuracy", gate("accuracy", 0.5))]
    same = canonical(a, ROOT) == canonical(b, ROOT)
    assert (policy_digest(a, gates, ROOT) == policy_digest(b, gates[::-1], ROOT)) is same


def test_the_digest_covers_the_gates_and_no_path_of_the_machine(tmp_path: Path) -> None:
    def digest(bound: float, root: Path) -> str:
        policy = Policy(evalsets=frozenset({root / "evals" / "t.eval.yaml"}))
        return policy_digest(policy, [("t::accuracy", gate("accuracy", bound))], root)

    assert digest(0.5, ROOT) == digest(0.5, tmp_path)
    assert digest(0.5, ROOT) != digest(0.6, ROOT)


# -- what is missing, and what a gate may pass on ----------------------------------------------------------------------


def files(*kinds: Any) -> list[EvalSetFile]:
    return [EvalSetFile(ROOT / "t.eval.yaml", "t", tuple(gate(kind, 0.5) for kind in kinds), 1)]


ENGINE = {"dtype": "float32", "quantize": "none", "device": "cpu", "device_type": "cpu", "base_digest": "a" * 64}


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy(required=frozenset({"accuracy"})), ""),
        (Policy(required=frozenset({"overlap", "accuracy"})), "requires a gate of kind overlap"),
        (Policy(floors={"format": 0.9}), "has a bound for format"),
        (Policy(ceilings={"overlap": 0}), "has a bound for overlap"),
        (Policy(runtime={"dtype": frozenset({"float32", "bfloat16"})}), ""),
        (
            Policy(runtime={"dtype": frozenset({"bfloat16"})}),
            "asks for dtype bfloat16, and the models ran with float32",
        ),
        (Policy(runtime={"quantize": frozenset({"nf4"})}), "asks for quantize nf4, and the models ran with none"),
        (Policy(runtime={"device": frozenset({"cuda"})}), "asks for device cuda, and the models ran with cpu"),
        (Policy(runtime={"dtype": frozenset()}), "asks for dtype nothing"),
        (Policy(bases=(BasePin("a" * 64),)), ""),
        (Policy(bases=(BasePin("b" * 64),)), "is not the one that the policy pins"),
        (Policy(bases=(BasePin("a" * 64), BasePin("b" * 64))), "is not the one that the policy pins"),
    ],
)
def test_rules_that_were_broken_or_not_evaluated(policy: Policy, said: str) -> None:
    reasons = unmet(PolicyInForce(policy), files("accuracy"), ENGINE)
    assert (len(reasons) == 1 and said in reasons[0]) if said else reasons == ()


def test_a_rule_about_models_is_not_met_where_none_was_run() -> None:
    policy = Policy(runtime={"dtype": frozenset({"float32"})}, min_n=9)
    reasons = unmet(PolicyInForce(policy), files("overlap"), {})
    assert [reason.partition(",")[0] for reason in reasons] == [
        "the policy has a min_n",
        "the policy asks for dtype float32",
    ]


def passed(n: int, **changes: Any) -> Verdict:
    return replace(Verdict("t::accuracy", "accuracy", "PASS", "s", "", n, 0.9, (0.8, 1.0), 0.5, 0.001), **changes)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]))
def test_min_n_turns_only_a_pass_on_too_few_into_no_answer(n: int, least: int, outcome: str) -> None:
    asked = gate("accuracy", 0.5)
    verdict = settle(Policy(min_n=least), asked, asked, passed(n, outcome=outcome))
    assert verdict.outcome == ("INCONCLUSIVE" if outcome == "PASS" and n < least else outcome)
    if verdict.outcome != outcome:
        assert f"add {least - n} examples" in verdict.fix


def test_min_n_counts_the_clean_examples_where_some_leaked() -> None:
    asked = gate("accuracy", 0.5)
    leaked = passed(120, details={"contamination": {"clean": {"n": 90}}})
    assert settle(Policy(min_n=100), asked, asked, leaked).reason == "MIN_N"
    assert settle(Policy(min_n=90), asked, asked, leaked).outcome == "PASS"


def test_unknown_training_data_passes_only_where_the_policy_says_so() -> None:
    asked = gate("overlap", 0, max_rate=False)
    unknown = passed(0, kind="overlap", outcome="ERROR", reason="UnknownTraining", value=None, bound=None)
    assert settle(Policy(), asked, asked, unknown).outcome == "ERROR"
    allowed = settle(Policy(unknown_training_data="warn"), asked, asked, unknown)
    assert (allowed.outcome, allowed.fix) == ("PASS", "")
    assert "not judged, which the policy allows" in allowed.summary
    other = replace(unknown, reason="IdentityError")
    assert settle(Policy(unknown_training_data="warn"), asked, asked, other).outcome == "ERROR"
