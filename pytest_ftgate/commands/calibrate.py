"""`pytest-ftgate calibrate EVALS... --base DIR`: how often does the base contradict itself?"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.hf_load import Settings, free
from pytest_ftgate.answers.engine.protocol import Engine, Request
from pytest_ftgate.answers.prompting import BASE, build_prompts
from pytest_ftgate.commands.common import Parser, add_base_options, root_of
from pytest_ftgate.errors import EngineError, FtgateError
from pytest_ftgate.evalset.discovery import named_files
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.noise import Noise, measure_noise, store_calibration
from pytest_ftgate.model.identity import Candidate, resolve_base
from pytest_ftgate.results import Generation
from pytest_ftgate.run.options import positive_int
from pytest_ftgate.scoring.scorers import needed_labels

UNUSABLE = 4
_EPILOG = """\
The base is asked the task prompt of every eval set once as it is judged, then with another batch size, with another
dtype and, with --nf4, in 4 bits. Greedy answers differ all the same: sums of floating-point numbers depend on their
order. A candidate that flips no more answers than that has not been shown to forget anything.

Written to .ftgate/calibration.json; `pytest-ftgate plan` takes the flip rate from there.
exit codes: 0 measured · 4 an input cannot be used, or nothing could be measured
"""
Answers = Mapping[str, Mapping[str, "Generation"]]
"""EvalSet name -> example id -> Generation."""
MakeEngine = Callable[["Settings"], "Engine"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    root = root_of(args.root)
    try:
        evalsets = [load_evalset(path) for path in named_files(args.evals)]
        base = resolve_base(args.base, Path.cwd())
        found, left_out = calibrate(evalsets, base, _variants(args), _say)
        if found:
            path = store_calibration(root, found)
    except (InputError, FtgateError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        print(f"the result could not be written below {root}: {error.strerror or error}", file=sys.stderr)
        return UNUSABLE
    for why in left_out:
        print(visible(f"not measured: {why}"), file=sys.stderr)
    if not found:
        return UNUSABLE
    print(noise_table(found))
    print("\nFlips up to here are noise, not forgetting.", end=" ")
    if any(noise.is_quantised for noise in found):
        print("Those of nf4 are the damage that 4 bits do.", end=" ")
    print(f"Stored in {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pytest-ftgate calibrate",
        description="Measure how many answers and scores flip when nothing but the way of running the base changes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_base_options(parser)
    parser.add_argument("--other-batch-size", type=positive_int, metavar="M", help="the other one (default N/8)")
    parser.add_argument("--nf4", action="store_true", help="also compare with 4 bits (bitsandbytes)")
    return parser


def _variants(args: argparse.Namespace) -> list[Settings]:
    """As judged, then what one change makes of it; dtype "other" is decided by the dtype that is really run."""
    judged = Settings(args.device, args.dtype, "none", args.batch_size)
    other = args.other_batch_size or max(1, args.batch_size // 8)
    changes = [replace(judged, batch_size=other), replace(judged, dtype="other")]
    if args.nf4:
        changes.append(replace(judged, quantize="nf4"))
    return [judged, *changes]


def calibrate(
    evalsets: Sequence[EvalSet],
    base: Candidate,
    variants: Sequence[Settings],
    say: Callable[[str], None],
    make_engine: MakeEngine | None = None,
) -> tuple[list[Noise], list[str]]:
    """(what was measured, why something was not). The first of `variants` is how candidates are judged.

    Raises FtgateError where the first cannot be run; another that the device cannot do is left out.
    """
    make = make_engine or _maker(base)
    judged, *changes = variants
    say(f"asking {base.path.name} as it is judged")
    first, facts = _ask(evalsets, make(judged))
    found: list[Noise] = []
    left_out: list[str] = []
    for change in changes:
        settings = change if change.dtype != "other" else replace(change, dtype=_other_dtype(str(facts["dtype"])))
        name = _name(judged, settings, str(facts["dtype"]))
        say(f"asking again: {name}")
        try:
            second, _ = _ask(evalsets, make(settings))
        except EngineError as error:
            left_out.append(f"{name}: {error}")
            continue
        base.check_unchanged()
        digest, device, dtype = base.digest(tuned=False), str(facts["device"]), str(facts["dtype"])
        for evalset in evalsets:
            mine, other = first[evalset.name], second[evalset.name]
            how = {"base": digest, "device": device, "dtype": dtype, "changed": name}
            found.append(measure_noise(evalset, mine, other, **how))
    return found, left_out


def _maker(base: Candidate) -> MakeEngine:
    def make(settings: Settings) -> Engine:
        free()
        return HFEngine(base, settings)

    return make


def _other_dtype(dtype: str) -> str:
    return "bfloat16" if dtype == "float32" else "float32"


def _name(judged: Settings, settings: Settings, dtype: str) -> str:
    if settings.quantize != judged.quantize:
        return f"{judged.quantize} -> {settings.quantize}"
    if settings.dtype != judged.dtype:
        return f"{dtype} -> {settings.dtype}"
    return f"batch {judged.batch_size} -> {settings.batch_size}"


def _ask(evalsets: Sequence[EvalSet], engine: Engine) -> tuple[Answers, Mapping[str, Json]]:
    """Every example in its task prompt, answered by the base; and what the engine says of itself."""
    places: list[tuple[str, str]] = []
    requests: list[Request] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch and its kin are not the user's
        for evalset in evalsets:
            labels = needed_labels(evalset.scorer) if evalset.scorer else ()
            limits = evalset.generation
            for example, prompt in zip(evalset.examples, build_prompts(evalset, BASE).prompts, strict=True):
                places.append((evalset.name, example.id))
                requests.append(Request(prompt, limits.max_new_tokens, limits.stop, labels))
        answers: dict[str, dict[str, Generation]] = {evalset.name: {} for evalset in evalsets}
        for index, generation in engine.generate(requests, tuned=False):
            name, example_id = places[index]
            answers[name][example_id] = generation
        return answers, engine.describe()


def noise_table(found: Sequence[Noise]) -> str:
    """One line per eval set and change."""
    rows = [
        [n.evalset, n.changed, n.n, _share(n, n.differ), _share(n, n.flips), _count(n.gains), _count(n.losses)]
        for n in found
    ]
    titles = ("eval set", "changed", "n", "other text (95% interval)", "score flips (95% interval)", "gains", "losses")
    return tabulate([[visible(str(c), limit=80) for c in row] for row in rows], headers=titles, disable_numparse=True)


def _share(noise: Noise, count: int | None) -> str:
    if count is None:
        return "no scorer"
    low, high = noise.interval(count)
    return f"{count / noise.n:.1%} ({low:.1%} to {high:.1%})"


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
