"""How often gates ship what they must not: ours against the rules in use today.

    python -m benchmarks.stats

prints every table and writes them to docs/measured/statistics.md. What is simulated says so, with its seed; all else is
exact.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy
from scipy import special

from benchmarks import early_stopping, rules
from benchmarks.early_stopping import Scenario
from benchmarks.enumeration import Bounds, Truth, ship_probability, simulate, worst_false_ship
from benchmarks.tables import Table, points, rate
from pytest_ftgate.stats import (
    examples_needed_at_best,
    margin_at_power,
    paired_p_value,
    smallest_margin,
    tango_interval,
)

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "measured" / "statistics.md"
SIZES = (50, 60, 100, 200, 500)
SEED = 20_260_101
RUNS = 200_000
STOPPING_RUNS = 4000

JUDGES: Mapping[str, rules.Rule] = {
    "Wald": rules.wald,
    "paired t": rules.paired_t,
    "Bonett-Price": rules.bonett_price,
    "Tango score": rules.tango,
    "exact (ours)": rules.exact,
}
FORGETTING: Mapping[str, rules.Rule] = {
    "point estimate": rules.point_estimate,
    "unless significantly worse": rules.unless_significantly_worse,
    "Wald": rules.wald,
    "exact (ours)": rules.exact,
    "exact (ours), hard FAIL": rules.exact_fail,
}
SUPERIORITY: Mapping[str, rules.Rule] = {
    "point estimate": rules.point_estimate,
    "significant and large enough": rules.significant_and_large,
    "Wald": rules.wald,
    "exact (ours)": rules.exact,
}
TRUTHS = (
    Truth("good: accuracy 0.96 over 0.80, nothing forgotten", 0.96, 0.80, 0.0, 0.06),
    Truth("great: accuracy 0.98 over 0.65, nothing forgotten", 0.98, 0.65, 0.0, 0.03),
    Truth("BAD: good, but forgets exactly 5 points", 0.96, 0.80, -0.05, 0.11),
    Truth("BAD: good, but forgets 10 points", 0.96, 0.80, -0.10, 0.16),
    Truth("BAD: exactly 5 points over the prompt", 0.96, 0.91, 0.0, 0.06),
    Truth("BAD: no better than the prompt", 0.96, 0.96, 0.0, 0.06),
    Truth("BAD: exactly at the floor", 0.85, 0.65, 0.0, 0.06),
    Truth("BAD: all three exactly at the boundary", 0.85, 0.80, -0.05, 0.11),
)
SCENARIOS = (
    Scenario("at the bound", 0.05, 0.05, 0.15, 0.6),
    Scenario("good", 0.05, 0.15, 0.25, 0.6),
    Scenario("very good", 0.05, 0.25, 0.35, 0.6),
    Scenario("worse than the baseline", 0.05, -0.10, 0.20, 0.6),
    Scenario("at the margin", -0.05, -0.05, 0.11, 0.8),
    Scenario("good", -0.05, 0.0, 0.02, 0.8),
    Scenario("clearly bad", -0.05, -0.20, 0.26, 0.8),
)


def in_short() -> Table:
    """The few lines that README quotes."""
    sizes = (50, 100, 200, 500)
    rows = []
    for words, delta0, extra, judges in (
        ("forgets exactly the 5 points allowed", -0.05, 0.06, ("point estimate", "unless significantly worse", "Wald")),
        ("gains exactly the 5 points needed", 0.05, 0.10, ("point estimate", "significant and large enough", "Wald")),
    ):
        known = FORGETTING if delta0 < 0 else SUPERIORITY
        for name in (*judges, "exact (ours)"):
            shares = (ship_probability(known[name], n, delta0, delta0, abs(delta0) + extra) for n in sizes)
            rows.append([words, name, *(rate(share) for share in shares)])
    return Table(
        "In short: the chance to ship a model that is just not good enough",
        "One gate of n examples, the model exactly at the bound, by exact enumeration; the tables below say more of "
        "each rule. A rule that promises an error rate of 5 % must stay at or below .050.",
        ["the model", "rule", *(f"n={n}" for n in sizes)],
        rows,
    )


def worst_case() -> Table:
    sizes = (20, *SIZES)
    rows = []
    for delta0 in (-0.02, -0.05, 0.0, 0.05):
        worst = {n: worst_false_ship(JUDGES, n, delta0) for n in sizes}
        rows += [[points(delta0), name, *(rate(worst[n][name]) for n in sizes)] for name in JUDGES]
    return Table(
        "Worst case: the chance to ship what sits exactly at the bound",
        "One paired gate at a nominal error rate of 0.05, the true difference exactly at its bound (in points; "
        "negative: forgetting, otherwise beating a baseline). Each cell is the highest chance to ship over a grid of "
        "flip rates (the share of examples on which the two models differ), by exact enumeration of every outcome. "
        "A rule keeps its promise where the cell is at most 0.05. An interval around the estimate has no width where "
        "nothing flips: that is where Wald and t fail.",
        ["bound", "rule", *(f"n={n}" for n in sizes)],
        rows,
    )


def one_gate(
    judges: Mapping[str, rules.Rule], delta0: float, extra_flips: float, truths: Sequence[tuple[str, float]]
) -> list[list[str]]:
    """Rows of exact chances to ship; the flip rate is |delta| and extra_flips, half of them gains."""
    return [
        [points(delta0), f"{points(delta)} ({words})", name]
        + [rate(ship_probability(rule, n, delta0, delta, abs(delta) + extra_flips)) for n in SIZES]
        for words, delta in truths
        for name, rule in judges.items()
    ]


def forgetting_gate() -> Table:
    rows = one_gate(FORGETTING, -0.05, 0.06, [("at the margin", -0.05), ("clearly bad", -0.10), ("good", 0.0)])
    rows += one_gate(FORGETTING, -0.02, 0.06, [("at the margin", -0.02), ("good", 0.0)])
    return Table(
        "One forgetting gate",
        "The chance that each rule ships, by exact enumeration; the last rule's row is its chance of a hard FAIL. "
        "Bound and true difference in points; besides that difference 6 % of the examples flip, half of them each "
        'way. "Unless significantly worse" blocks only a drop that reaches the margin and that McNemar\'s exact test '
        "finds. What ours neither ships nor fails is INCONCLUSIVE, which does not ship.",
        ["bound", "truth", "rule", *(f"n={n}" for n in SIZES)],
        rows,
    )


def superiority_gate() -> Table:
    truths = [("at the bound", 0.05), ("no gain", 0.0), ("good", 0.15), ("very good", 0.20)]
    return Table(
        "One gate that must beat a baseline",
        "As above, with 10 % of the examples flipping besides the difference. "
        '"Significant and large enough" wants a significant one-sided McNemar test of no gain, and an estimate at the '
        "bound: it tests another claim than the one that it makes.",
        ["bound", "truth", "rule", *(f"n={n}" for n in SIZES)],
        one_gate(SUPERIORITY, 0.05, 0.10, truths),
    )


def whole_run() -> Table:
    rng, sizes = np.random.default_rng(SEED), (50, 100, 200, 500)
    bounds, rows = Bounds(), []
    for truth in TRUTHS:
        shares = [simulate(truth, bounds, n, RUNS, rng) for n in sizes]
        rows.append([truth.name, "naive SHIP", *(rate(s.naive_ship) for s in shares)])
        rows.append(["", "ours SHIP", *(rate(s.ship) for s in shares)])
        rows.append(["", "ours FAIL", *(rate(s.fail) for s in shares)])
        rows.append(["", "ours INCONCLUSIVE", *(rate(s.inconclusive) for s in shares)])
        rows.append(["", "SHIP if corrected by Bonferroni", *(rate(s.bonferroni_ship) for s in shares)])
    return Table(
        "A whole run of three gates",
        f"Accuracy above {bounds.floor:g}, a gain of {bounds.gain:g} over the prompted baseline, a drop of less than "
        f"{bounds.drop:g} on general examples; n examples for the first two and n general ones. {RUNS} simulated runs "
        f"a cell (seed {SEED}); tuned model and baseline err independently of each other. Naive: all three point "
        "estimates reach their bounds. Ours: every gate passes its own test at 0.05, and no correction is needed for "
        "that; FAIL: no SHIP, and some gate proven bad at 0.05 / 3. The last row shows what a needless correction "
        "would cost.",
        ["truth", "outcome", *(f"n={n}" for n in sizes)],
        rows,
    )


def stopping() -> Table:
    rng, rows = np.random.default_rng(SEED), []
    for scenario in SCENARIOS:
        for n in (100, 200):
            found = early_stopping.simulate(scenario, n, STOPPING_RUNS, rng)
            truth = f"{points(scenario.delta)} ({scenario.words})"
            shares = (found.full, found.early, found.peeking, found.curtailed_use, found.early_use)
            rows.append([points(scenario.delta0), truth, str(n), *(rate(share) for share in shares)])
    return Table(
        "Stopping before the last example",
        f"One paired gate of n examples, looked at after every {early_stopping.BATCH}; {STOPPING_RUNS} simulated runs "
        f"a row (seed {SEED}). PASS: with all examples; with `early_stop`, which spends a fifth of 0.05 on looking; "
        "and if one peeks, asking the full test at every look. Used: mean share of examples generated, with "
        "curtailment alone (the same verdict as the full run, always) and with `early_stop`. At its bound a gate must "
        "pass at most 0.05.",
        ["bound", "truth", "n", "PASS, all n", "PASS, early stop", "PASS, peeking", "used, curtailed", "used, early"],
        rows,
    )


def plan() -> Table:
    def cell(margin: float | None) -> str:
        return "-" if margin is None else f"{100 * margin:.1f}"

    rows = [["no answer changes", *(cell(smallest_margin(n)) for n in SIZES)]]
    for flips in (0.02, 0.05, 0.10, 0.20):
        label = f"{100 * flips:.0f} % flips, power 0.8"
        rows.append([label, *(cell(margin_at_power(n, flip_rate=flips)) for n in SIZES)])
    needed = examples_needed_at_best("non_inferiority", bound=0.02)
    return Table(
        "What margin can n examples certify?",
        "Smallest forgetting margin, in points, that the exact test at 0.05 certifies. First row: if no answer "
        "changes. Others: with power 0.8 if nothing was truly lost, at this flip rate, half of the flips each way. "
        f"Where nothing is gained either, a margin of 2 points needs {needed} examples.",
        ["case", *(f"n={n}" for n in SIZES)],
        rows,
    )


def published() -> Table:
    cases = [
        ("Tango 1998, table VII", (4, 9, 3, 16), 0.95),
        ("Tango 1998, table V", (43, 0, 1, 0), 0.90),
        ("Agresti & Min 2005", (53, 16, 8, 9), 0.95),
        ("Bentur, in Fagerland 2014", (1, 1, 7, 12), 0.95),
        ("Newcombe 1998", (20, 12, 2, 16), 0.95),
    ]
    rows = []
    for name, (both, gains, losses, neither), confidence in cases:
        n, z = both + gains + losses + neither, float(special.ndtri((1 + confidence) / 2))
        b, c = np.array([gains]), np.array([losses])
        rows.append(
            [name, f"{both}, {gains}, {losses}, {neither}", f"{confidence:.2f}"]
            + [_interval(float(low[0]), float(high[0])) for low, high in _approximate(b, c, n, z)]
            + [
                _interval(*rules.newcombe_interval(both, gains, losses, neither, z)),
                _interval(*tango_interval(gains, losses, n, confidence=confidence)),
                f"{paired_p_value(gains, losses, n, delta0=0.0):.5f}",
            ]
        )
    return Table(
        "Published examples",
        "Both right, gains, losses, both wrong; two-sided intervals for the difference; last, our exact one-sided "
        "p-value of no gain.",
        [
            "source",
            "table",
            "level",
            "Wald",
            "Bonett-Price",
            "Newcombe 10",
            "Tango (ours)",
            "exact p (ours)",
        ],
        rows,
    )


def _approximate(b: rules.Ints, c: rules.Ints, n: int, z: float) -> list[tuple[rules.Floats, rules.Floats]]:
    return [rules.wald_interval(b, c, n, z), rules.bonett_price_interval(b, c, n, z)]


def _interval(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"


SECTIONS: Sequence[Callable[[], Table]] = (
    in_short,
    worst_case,
    forgetting_gate,
    superiority_gate,
    whole_run,
    stopping,
    plan,
    published,
)


def document(tables: Sequence[Table]) -> str:
    made_with = f"Python {platform.python_version()}, NumPy {version('numpy')}, SciPy {scipy.__version__}"
    head = (
        "# How often do gates ship what they must not?\n\n"
        "Written by `make bench-stats` (`python -m benchmarks.stats`); do not edit by hand.\n"
        f"Made with pytest-ftgate {version('pytest-ftgate')}, {made_with}.\n"
    )
    return "\n".join([head, *(table.markdown() for table in tables)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stats", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=DOCUMENT, help="where to write the tables (default: %(default)s)"
    )
    output: Path = parser.parse_args().output
    tables = []
    for section in SECTIONS:
        tables.append(section())
        print(tables[-1].markdown(), flush=True)
    output.write_text(document(tables), encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
