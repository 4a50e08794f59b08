"""Do the ways of asking agree? Shared prefix or `model.generate`, in batches or alone, at each precision.

python -m benchmarks.agreement [--only float32] [--scale 0.1] [--out docs/measured/agreement.md]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from benchmarks.measured import surroundings
from benchmarks.speed_work import DEMO, random_adapter
from benchmarks.tables import Table, paragraphs
from pytest_ftgate.answers.engine import support
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.hf_load import Settings
from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import build_prompts, systems_for
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.model.identity import resolve_candidate

PRECISIONS = {"float32": ("float32", "none"), "bfloat16": ("bfloat16", "none"), "nf4": ("bfloat16", "nf4")}
BATCH = 64
WAYS = {
    "alone, model.generate": (False, 1),
    "alone, shared prefix": (True, 1),
    "batched, shared prefix": (True, BATCH),
    "batched, model.generate": (False, BATCH),
}
"""Way -> (prefix shared, batch size); the first is what the others are compared with."""
REFERENCE, OURS = "alone, model.generate", "batched, shared prefix"
SIDES = {"base": False, "adapter": True}
Answers = Sequence[tuple[int, ...]]
HEAD = """\
# Do the ways of asking agree?

Made by `make bench-agreement` ({where}): every prompt of the demo's eval sets, to its base (all rungs) and
to an adapter drawn at random, greedily, on the CPU. Each number counts the prompts whose answer
differs in any token. A prompt that is answered alone, by `model.generate`, is the reference; the stage asks in batches
of {batch} on a shared prefix.

In float32 a difference would be a defect. In 16 and in 4 bits sums come out otherwise in another order, and where two
tokens are nearly as likely the other one may win: both sides of a comparison are asked alike for that reason, and
`pytest-ftgate calibrate` measures how much it is with your base and your questions.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One side's prompts at one precision, and the answers each way."""

    precision: str
    side: str
    answers: dict[str, Answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PRECISIONS), action="append", help="this precision; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the prompts, for a quick look")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        adapter = random_adapter(DEMO / "base", Path(temporary) / "adapter", seed=1)
        found = [_ask(precision, side, adapter, args.scale) for precision in args.only or PRECISIONS for side in SIDES]
    text = f"{paragraphs(HEAD.format(where=surroundings(), batch=BATCH))}\n\n{_table(found).markdown()}"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def _ask(precision: str, side: str, adapter: Path, scale: float) -> Asked:
    answers = {}
    for way, (shared, batch) in WAYS.items():
        dtype, quantize = PRECISIONS[precision]
        candidate = resolve_candidate(str(adapter), str(DEMO / "base"), DEMO)
        engine = HFEngine(candidate, Settings("cpu", dtype, quantize, batch))
        with _sharing(on=shared):
            answers[way] = _answers(engine, tuned=SIDES[side], scale=scale)
        print(f"  {precision}, {side}, {way}: {len(answers[way])} answers", flush=True)
    return Asked(precision, side, answers)


def _sharing(*, on: bool) -> mock._patch[object]:
    """Prefixes are shared as far as the model allows, or never."""
    found = support.why_not_shared if on else lambda model, core: "not here"
    return mock.patch.object(support, "why_not_shared", found)


def _answers(engine: HFEngine, *, tuned: bool, scale: float) -> Answers:
    requests: list[Request] = []
    for path in sorted((DEMO / "evals").glob("*.eval.yaml")):
        evalset = load_evalset(path)
        for system in systems_for(evalset, [gate.kind for gate in evalset.gates]):
            if system.tuned is not tuned:
                continue
            prompts = build_prompts(evalset, system).prompts
            some = prompts[: max(4, round(len(prompts) * scale))]
            new, stop = evalset.generation.max_new_tokens, evalset.generation.stop
            requests += [Request(prompt, new, stop) for prompt in some]
    found = dict(engine.generate(requests, tuned=tuned))
    shared = engine.describe()["decode"] == "shared-prefix"
    if shared is not (support.why_not_shared.__name__ == "why_not_shared"):
        raise SystemExit("the engine did not ask in the way that was to be measured")
    return [found[place].token_ids for place in range(len(requests))]


def _table(found: Sequence[Asked]) -> Table:
    exact = {each.side: each.answers[OURS] for each in found if each.precision == "float32"}
    rows = []
    for each in found:
        reference = each.answers[REFERENCE]
        tokens = sum(map(len, reference))
        ways = [_differ(answers, reference) for way, answers in each.answers.items() if way != REFERENCE]
        other = _differ(each.answers[OURS], exact[each.side]) if each.side in exact else "not asked"
        rows.append([each.precision, each.side, f"{len(reference):,}", f"{tokens:,}", *ways, other])
    headers = ["precision", "side", "prompts", "tokens", *(way for way in WAYS if way != REFERENCE), "from float32"]
    text = "Prompts answered otherwise than alone by `model.generate` at the same precision; last: than in float32."
    return Table("Prompts with another answer", text, headers, rows)


def _differ(answers: Answers, reference: Answers) -> str:
    count = sum(a != b for a, b in zip(answers, reference, strict=True))
    return f"{count} ({count / len(reference):.1%})" if count else "0"


if __name__ == "__main__":
    main()
