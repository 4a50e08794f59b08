"""The stage against lm-evaluation-harness: the same prompts, models and answers, in one run.

    python -m benchmarks.speed --lm-eval PYTHON [--only demo] [--scale 0.1] [--out docs/measured/performance.md]

PYTHON is the interpreter of an environment that holds lm-eval (`make bench-speed` makes one). Each side's answers are
compared before any ratio is printed: a faster way to other answers would be no way.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import speed_limits, speed_lmeval
from benchmarks.measured import Cost, run, surroundings
from benchmarks.speed_limits import Least
from benchmarks.speed_work import LABELS, Size, big_base, demo_base, random_adapter, write_evalsets
from benchmarks.tables import Table, paragraphs
from pytest_ftgate.answers.prompting import System, build_prompts, systems_for
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.results import Generation

SIZES = {
    "demo": Size(tickets=2700, general=1500, words=400, phrases=600, shots=16, new_tokens=24),
    "big": Size(tickets=12, general=12, words=4, phrases=4, shots=16, new_tokens=24),
}
BATCHES = {"demo": (1, 16), "big": (1, 16)}
"""lm-eval's default is 1."""
JUDGED = (0, 1)
"""pytest's exit codes of a run that judged; whether these random adapters pass does not matter here."""
REPEATS = 3
"""Our short runs, of which the cheapest counts: what they cost beyond start-up is little."""
CLOSE = 1e-3
"""Largest difference of a log-likelihood (nats) that counts as the same."""


@dataclass(frozen=True, slots=True)
class Work:
    """One model and its work, on disk."""

    name: str
    folder: Path
    base: Path
    adapter: Path
    evalsets: tuple[EvalSet, ...]


def prepare(name: str, size: Size, folder: Path) -> Work:
    """Models and eval sets of one part of the benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    base = demo_base(folder) if name == "demo" else big_base(folder)
    adapter = random_adapter(base, folder / "runs" / "a1", seed=1)
    evals = write_evalsets(folder, size)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    evalsets = tuple(load_evalset(path) for path in sorted(evals.glob("*.eval.yaml")))
    return Work(name, folder, base, adapter, evalsets)


def ours(work: Work, adapter: Path, *select: str) -> Cost:
    """One pytest run, start-up and statistics included."""
    command = [
        *(sys.executable, "-m", "pytest", "evals", f"--ft-model={adapter}", f"--ft-base={work.base}"),
        *("--ft-all-answers", "--ft-judge-hopeless", "--ft-verdict=off", "-q", "-p", "no:cacheprovider", *select),
    ]
    return run(command, folder=work.folder, log=work.folder / "pytest.log", accept=JUDGED)


def fresh(work: Work) -> None:
    """No stored answer."""
    shutil.rmtree(work.folder / ".ftgate", ignore_errors=True)


def our_answers(work: Work) -> Mapping[str, Mapping[str, Mapping[str, Generation]]]:
    """What the last run stored: nothing is generated here."""
    from pytest_ftgate.answers.engine.hf import HFEngine
    from pytest_ftgate.answers.engine.hf_load import Settings
    from pytest_ftgate.answers.stage import run_stage
    from pytest_ftgate.files.own_key import own_key
    from pytest_ftgate.model.identity import resolve_candidate
    from pytest_ftgate.run.judging import work_for
    from pytest_ftgate.run.stored import STORE

    engine = HFEngine(
        resolve_candidate(str(work.adapter), str(work.base), work.folder), Settings("auto", "auto", "none", 64)
    )
    selected = [(evalset, gate) for evalset in work.evalsets for gate in evalset.gates]
    result = run_stage(
        work_for(selected),
        engine,
        store_root=work.folder / STORE,
        store_key=own_key(work.folder).secret,
        cache="all",
        report=lambda progress: None,
    )
    made = sum(side["generated"] for side in result.counts.values())
    if made:
        raise SystemExit(f"{made} answers were not found in the store: this benchmark would compare other texts")
    return result.generations


def theirs(work: Work, python: Path, batch: int, tasks: Mapping[str, Sequence[str]], tag: str) -> dict[str, Cost]:
    """lm-eval over the base's tasks, then over the adapter's; side -> cost."""
    costs = {}
    for side, names in tasks.items():
        adapter = work.adapter if side == "candidate" else None
        out = work.folder / "lm-eval" / f"{tag}-{side}-{batch}"
        command = speed_lmeval.command(python, names, work.folder / "tasks", work.base, adapter, batch, out)
        costs[side] = run(command, folder=work.folder, log=work.folder / f"lm-eval-{tag}-{side}-{batch}.log")
        print(f"  lm-eval, batch {batch}, {tag}, {side}: {costs[side].cpu:.0f} CPU-s", flush=True)
    return costs


def write_tasks(work: Work) -> dict[str, dict[str, list[str]]]:
    """Task files of every System; `everything` or an eval set of labels -> side -> task names."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work.base)
    folder = work.folder / "tasks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in ("everything", *LABELS)}
    for evalset, system in _asked(work):
        labels = LABELS.get(evalset.name, ())
        name = speed_lmeval.write_task(folder, evalset, system, tokenizer, labels)
        for kind in ("everything", evalset.name) if labels else ("everything",):
            found[kind].setdefault("candidate" if system.tuned else "base", []).append(name)
    return found


def _asked(work: Work) -> list[tuple[EvalSet, System]]:
    return [(e, system) for e in work.evalsets for system in systems_for(e, [gate.kind for gate in e.gates])]


def compare(work: Work, batch: int) -> list[str]:
    """Number of answers that are the same on both sides, per System. Raises SystemExit where one differs."""
    answers, lines = our_answers(work), []
    for evalset, system in _asked(work):
        mine = answers[evalset.name][system.name]
        side, task = "candidate" if system.tuned else "base", speed_lmeval.task_name(evalset, system)
        out = work.folder / "lm-eval" / f"everything-{side}-{batch}"
        if labels := LABELS.get(evalset.name):
            differ = _other_weights(mine, speed_lmeval.read_weights(out, task, labels))
        else:
            texts = speed_lmeval.read_texts(out, task)
            differ = [i for i in texts if texts[i] != mine[i].text]
        lines.append(f"{task}: {len(mine) - len(differ)} of {len(mine)} the same")
        if differ:
            raise SystemExit(f"{lines[-1]} (batch {batch}; first: {differ[0]}). No ratio can be given.")
    return lines


def _other_weights(mine: Mapping[str, Generation], weights: speed_lmeval.Weights) -> list[str]:
    return [
        i
        for i, found in weights.items()
        if any(abs(weight - (mine[i].label_logprobs or {})[label]) > CLOSE for label, weight in found.items())
    ]


@dataclass(frozen=True, slots=True)
class Result:
    """Costs of one part of the benchmark."""

    cold: Cost
    labels: Mapping[str, Cost]
    """Our cold run of one eval set of labels alone."""
    start: Cost
    """A run on a few examples: what it costs to begin."""
    lm_eval: Mapping[int, Mapping[str, Cost]]
    """Batch size -> `everything`, or the eval set of labels -> both processes together."""
    least: Least


def measure(work: Work, python: Path, batches: Sequence[int]) -> Result:
    """Run everything once, compare every answer, and only then give costs."""
    fresh(work)
    cold = ours(work, work.adapter)
    print(f"  ours, cold: {cold.cpu:.0f} CPU-s", flush=True)
    tasks = write_tasks(work)
    lm_eval: dict[int, dict[str, Cost]] = {}
    for batch in batches:
        lm_eval[batch] = {}
        for kind, sides in tasks.items():
            costs = theirs(work, python, batch, sides, kind)
            lm_eval[batch][kind] = costs["base"] + costs["candidate"]
        for line in compare(work, batch):
            print(f"  {line}", flush=True)
    least_work = speed_limits.least(_work_done(work), speed_limits.size_of(work.base))
    labels = {name: _cheapest(work, "-k", name) for name in LABELS}
    return Result(cold, labels, _start(work), lm_eval, least_work)


def _start(work: Work) -> Cost:
    """What a run costs that asks nearly nothing."""
    folder = work.folder / "start"
    write_evalsets(folder, Size(tickets=8, general=0, words=0, phrases=0, shots=1, new_tokens=1))
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return _cheapest(replace(work, folder=folder))


def _cheapest(work: Work, *select: str) -> Cost:
    """The cheapest of a few cold runs."""
    costs = []
    for _ in range(REPEATS):
        fresh(work)
        costs.append(ours(work, work.adapter, *select))
    return min(costs, key=lambda cost: cost.cpu)


def _work_done(work: Work) -> Iterator[speed_limits.Asked]:
    """Every prompt as tokens, and how much was answered."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work.base)
    answers = our_answers(work)
    for evalset, system in _asked(work):
        coded = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in LABELS.get(evalset.name, ())]
        inside = sum(len(label) - 1 for label in coded)
        for example, prompt in zip(evalset.examples, build_prompts(evalset, system).prompts, strict=True):
            ids = tokenizer(speed_lmeval.as_text(prompt, tokenizer), add_special_tokens=False)["input_ids"]
            written = len(answers[evalset.name][system.name][example.id].token_ids)
            yield speed_limits.Asked(system.tuned, tuple(ids), inside if coded else written)


def tables(name: str, size: Size, result: Result, rates: Sequence[float]) -> list[Table]:
    """What docs/measured/performance.md says of one part."""
    rows = [_row("ours, cold", result.cold, result.cold)]
    rows += [
        _row(f"lm-eval, batch {batch}", kinds["everything"], result.cold) for batch, kinds in result.lm_eval.items()
    ]
    share = result.start.cpu / result.cold.cpu
    text = (
        f"{size.tickets} tickets (short prompt for the candidate, {size.shots} shots for the base), {size.general} "
        f"general prompts (both), {size.words} x 8 labels of one token and {size.phrases} x 8 labels of two to four "
        f"(short prompt for the candidate, {size.shots} shots for the base); at most {size.new_tokens} new tokens. "
        f"Start-up is included; ours is {result.start.cpu:.1f} CPU-s, {share:.0%} of the cold run."
    )
    whole = Table(
        f"{name}: the whole job", paragraphs(text), ["run", "CPU s", "wall s", "peak MiB", "CPU s / ours cold"], rows
    )
    note = (
        "Eval sets of labels alone, both sides. Last column: without start-up, once ours, and as much for each of "
        "lm-eval's two processes (its own is no smaller). Labels of one token lm-eval reads off one forward pass a "
        "prompt; of longer ones it runs the whole prompt once for each label."
    )
    headers = ["eval set", "lm-eval batch", "lm-eval CPU s", "ours CPU s", "ratio", "ratio without start-up"]
    labels = [_label_row(b, k, kinds[k], result) for k in LABELS for b, kinds in result.lm_eval.items()]
    limits = speed_limits.table(name, result.least, result.cold.cpu - result.start.cpu, rates)
    return [whole, Table(f"{name}: label scoring", paragraphs(note), headers, labels), limits]


def _label_row(batch: int, kind: str, cost: Cost, result: Result) -> list[str]:
    mine, start = result.labels[kind].cpu, result.start.cpu
    net = max(cost.cpu - 2 * start, 0.0) / max(mine - start, 0.01)
    return [kind, str(batch), f"{cost.cpu:.0f}", f"{mine:.1f}", f"{cost.cpu / mine:.1f}", f"{net:.0f}"]


def _row(title: str, cost: Cost, cold: Cost) -> list[str]:
    return [title, f"{cost.cpu:.0f}", f"{cost.wall:.0f}", f"{cost.memory:.0f}", f"{cost.cpu / cold.cpu:.2f}"]


HEAD = """\
# Performance

Made by `make bench-speed` ({where}). The same prompts go to both sides as the same tokens, greedily, in float32 on
the CPU, one thread a process. Before a ratio is printed, every answer is compared: {compared}
answers were the same on both sides (texts character by character, log-likelihoods of labels within {close:g}).

lm-eval runs twice, once for the base and once for the adapter, as its users run it; its default batch size is 1. CPU
seconds are those of the whole processes, imports and model loading included. All seconds rise where others use the
machine meanwhile, and so do ratios of runs at different moments, by up to a quarter on a shared one; what a second
adapter costs is in growth.md.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lm-eval", type=Path, required=True, metavar="PYTHON", help="interpreter that has lm-eval")
    parser.add_argument("--only", choices=tuple(SIZES), action="append", help="this part; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the examples, for a quick look")
    parser.add_argument("--work", type=Path, help="folder to work in, kept; default: a temporary one")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        text = _all_parts(args, args.work or Path(temporary))
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def _all_parts(args: argparse.Namespace, folder: Path) -> str:
    found, compared = [], 0
    rates = speed_limits.matrix_rate(), speed_limits.bandwidth()
    for name in args.only or SIZES:
        size = _scaled(SIZES[name], args.scale)
        print(f"{name}: {size}", flush=True)
        work = prepare(name, size, folder.resolve() / name)
        part = tables(name, size, measure(work, args.lm_eval, BATCHES[name]), rates)
        print("\n".join(table.markdown() for table in part), flush=True)  # an hour is long to wait for all
        found += part
        compared += sum(len(evalset.examples) for evalset, _ in _asked(work)) * len(BATCHES[name])
    where = f"{surroundings()}, lm-eval {_lm_eval_version(args.lm_eval)}"
    head = paragraphs(HEAD.format(where=where, compared=f"{compared:,}", close=CLOSE))
    return "\n".join([f"{head}\n", *(table.markdown() for table in found)])


def _scaled(size: Size, scale: float) -> Size:
    def some(count: int) -> int:
        return max(min(count, 8), round(count * scale))

    counts = {name: some(getattr(size, name)) for name in ("tickets", "general", "words", "phrases")}
    return replace(size, **counts)


def _lm_eval_version(python: Path) -> str:
    script = "from importlib.metadata import version; print(version('lm_eval'))"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
