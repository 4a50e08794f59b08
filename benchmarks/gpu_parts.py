"""The parts of the GPU benchmark: prompts read, answers written, prefixes shared, labels weighed, an adapter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu_bench import Bench, Ceilings
from benchmarks.tables import Table
from pytest_ftgate.answers.engine import plain
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.tokens import TokenRequest

LABELS = ("wrong invoice", "cannot sign in", "parcel came late", "app is slow", "refund was rejected", "new idea")


def answered(engine: HFEngine, requests: Sequence[TokenRequest], *, tuned: bool = False) -> None:
    found = dict(engine.generate_from_tokens(requests, tuned=tuned))
    wrong = [each for each in found.values() if each.finish_reason == "error"]
    if len(found) != len(requests) or wrong:
        raise SystemExit(f"{len(wrong)} of {len(requests)} requests were not answered")


def reading(bench: Bench, ceiling: Ceilings) -> tuple[Table, list[dict[str, Any]]]:
    """Prompts of different beginnings, one new token: matrix products, and little else."""
    import torch

    length, raw = (64 if bench.quick else 1024), []
    head = bench.config.vocab_size * bench.config.hidden_size
    linear = bench.parameters - bench.embedding - head
    attention = 2 * 2 * bench.config.num_hidden_layers * bench.config.hidden_size * length / 2
    for size in (1, 8, 32):
        if not bench.has_time(f"batches of {size} prompts"):
            break
        flops = size * (length * (2 * linear + attention) + 2 * head)
        ids = torch.tensor(bench.prompts(size, length), device=bench.device)
        engine = bench.engine(size)

        def bare(ids: Any = ids) -> None:
            with bench.sides.using(tuned=False) as model, torch.inference_mode():
                model(input_ids=ids, use_cache=True, logits_to_keep=1).logits.argmax(-1).tolist()

        def ours(size: int = size, engine: HFEngine = engine) -> None:
            answered(engine, [TokenRequest(row, 1) for row in bench.prompts(size, length)])

        for name, work in (("one forward pass of transformers", bare), ("engine", ours)):
            bench.once(work)
            took = bench.seconds(work)
            raw.append({"way": name, "batch": size, "seconds": took, "tokens": size * length, "flops": flops / took})
    rows = [
        [
            each["way"],
            str(each["batch"]),
            f"{each['tokens'] / each['seconds']:,.0f}",
            _share(each["flops"], ceiling.flops),
        ]
        for each in raw
    ]
    text = (
        f"Prompts of {length} tokens that begin differently, one new token. Share: of the matrix product's rate\n"
        "(operations counted: linear layers, causal attention, the last token's logits)."
    )
    return Table("Reading prompts", text, ["way", "batch", "prompt tokens/s", "share of ceiling"], rows), raw


def writing(bench: Bench, ceiling: Ceilings) -> tuple[Table, list[dict[str, Any]]]:
    """Seconds a step, from answers of two lengths: what both have in common drops out."""
    length, short, long = (32, 2, 6) if bench.quick else (128, 8, 40)
    raw: list[dict[str, Any]] = []
    for size in (1, 8, 64, 256):
        ways = {
            "engine": lambda new, size=size: answered(
                bench.engine(size), [TokenRequest(row, new) for row in bench.prompts(size, length)]
            ),
            "model.generate": lambda new, size=size: generate(bench, bench.prompts(size, length), new),
        }
        for name, work in ways.items():
            if not bench.has_time(f"{name} in batches of {size}", 4 * (raw[-1]["wall"] if raw else 0)):
                continue
            work(short)
            began = time.perf_counter()
            both = [bench.seconds(lambda new=new, work=work: work(new)) for new in (long, short)]
            step = (both[0] - both[1]) / (long - short)
            moved = bench.read_bytes + size * bench.kv_bytes(length + (long + short) // 2)
            raw.append(
                {
                    "way": name,
                    "batch": size,
                    "step_seconds": step,
                    "tokens_per_s": size / step,
                    "bytes_per_s": moved / step,
                    "wall": time.perf_counter() - began,
                }
            )
    rows = [
        [
            *(each["way"], str(each["batch"]), f"{1000 * each['step_seconds']:.1f}", f"{each['tokens_per_s']:,.0f}"),
            _share(each["bytes_per_s"], ceiling.bandwidth),
        ]
        for each in raw
    ]
    text = (
        f"After prompts of {length} tokens; a step writes one token of every row. Share: of the copy's rate (bytes\n"
        "counted: each weight once a step, and the keys and values of every row). A step that takes as long for one\n"
        "row as for many is bound by the time that Python needs to start some hundreds of kernels, not by the card."
    )
    return Table("Writing answers", text, ["way", "batch", "ms a step", "tokens/s", "share of ceiling"], rows), raw


def generate(bench: Bench, prompts: Sequence[tuple[int, ...]], new: int, *, tuned: bool = False) -> None:
    """`model.generate` of transformers on one batch, greedily, padded on the left, nothing of ours in it."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0, eos_token_id=1)
    ids, mask = plain.left_pad(prompts, 0, bench.device)
    with bench.sides.using(tuned=tuned) as model, torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    out[:, ids.shape[1] :].tolist()


def sharing(bench: Bench, _: Ceilings) -> tuple[Table, list[dict[str, Any]]]:
    """A few-shot prompt's worth of shared prefix, short answers: prefixes shared, not shared, and plain generate."""
    n, prefix, tail, new = (8, 64, 16, 4) if bench.quick else (256, 1024, 64, 16)
    raw: list[dict[str, Any]] = []
    for size in (16, 64, 256):

        def ours(*, shared: bool, size: int = size) -> None:
            asked = [TokenRequest(row, new) for row in bench.prompts(n, prefix + tail, shared=prefix)]
            answered(bench.engine(size, shared=shared), asked)

        def theirs(size: int = size) -> None:
            prompts = bench.prompts(n, prefix + tail, shared=prefix)
            for start in range(0, n, size):
                generate(bench, prompts[start : start + size], new)

        ways: dict[str, Callable[[], None]] = {
            "engine": lambda ours=ours: ours(shared=True),
            "engine, nothing shared": lambda ours=ours: ours(shared=False),
            "model.generate": theirs,
        }
        for name, work in ways.items():
            if bench.has_time(f"{name} in batches of {size}", raw[-1]["seconds"] if raw else 0):
                raw.append({"way": name, "batch": size, "seconds": bench.seconds(work)})
    quickest = {each["batch"]: each["seconds"] for each in raw if each["way"] == "engine"}
    rows = [
        [
            *(each["way"], str(each["batch"]), f"{each['seconds']:.2f}", f"{n / each['seconds']:,.0f}"),
            f"{each['seconds'] / quickest[each['batch']]:.1f}" if each["batch"] in quickest else "not run",
        ]
        for each in raw
    ]
    text = f"{n} prompts that share {prefix} tokens, {tail} of their own, {new} new tokens."
    return Table("Sharing prefixes", text, ["way", "batch", "seconds", "prompts/s", "times the engine"], rows), raw


def labels(bench: Bench, _: Ceilings) -> tuple[Table, list[dict[str, Any]]]:
    """Labels weighed: packed in one row on a shared prefix, or one row each after the whole prompt."""
    n, prefix, tail = (8, 64, 16) if bench.quick else (256, 512, 64)
    asked = n // 4
    engine = bench.engine(64)
    tokenizer = bench.sides.tuned_tokenizer
    given = [tuple(tokenizer(label, add_special_tokens=False)["input_ids"]) for label in LABELS]
    wide = max(len(label) for label in given)

    def ours() -> None:
        rows = bench.prompts(n, prefix + tail, shared=prefix)
        answered(engine, [TokenRequest(row, 0, (), LABELS) for row in rows])

    def alone() -> None:
        import torch

        with bench.sides.using(tuned=False) as model, torch.inference_mode():
            for row in bench.prompts(asked, prefix + tail, shared=prefix):
                plain.label_logprobs(model, row, given)

    bench.once(ours)
    raw = [{"way": "engine: packed, prefix shared", "prompts": n, "seconds": bench.seconds(ours)}]
    if bench.has_time("one row a label"):
        raw.append({"way": "one row a label, prompt by prompt", "prompts": asked, "seconds": bench.seconds(alone)})
    if find_spec("lm_eval") is None:
        bench.tell("lm-eval is not installed here; docs/performance.md compares with it on a CPU")
    elif bench.has_time("lm-eval"):
        try:
            raw.append({"way": "lm-eval", "prompts": asked, "seconds": _lm_eval(bench, asked, prefix, tail)})
        except Exception as error:  # noqa: BLE001  # the rows above must not be lost with it
            bench.tell(f"lm-eval failed ({type(error).__name__}: {str(error)[:200]})")
    rates = [each["prompts"] / each["seconds"] for each in raw]
    rows = [
        [each["way"], str(each["prompts"]), f"{rate:,.0f}", f"{rates[0] / rate:.1f}"]
        for each, rate in zip(raw, rates, strict=True)
    ]
    text = (
        f"{len(LABELS)} labels of at most {wide} tokens, after prompts of {prefix + tail} tokens that share {prefix}."
    )
    return Table("Weighing labels", text, ["way", "prompts", "prompts/s", "engine over this"], rows), raw


def _lm_eval(bench: Bench, n: int, prefix: int, tail: int) -> float:
    """The same labels by lm-eval's own model class, in batches of 64."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = bench.sides.base_tokenizer
    texts = [str(tokenizer.decode(row)) for row in bench.prompts(n, prefix + tail, shared=prefix)]
    asked = [
        Instance("loglikelihood", {}, (text, label), place) for place, text in enumerate(texts) for label in LABELS
    ]
    with bench.sides.using(tuned=False) as model:
        judge = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=64)
        return bench.once(lambda: judge.loglikelihood(asked, disable_tqdm=True))


def adapter(bench: Bench, _: Ceilings) -> tuple[Table, list[dict[str, Any]]]:
    """The same work by the candidate (LoRA on every linear layer) and by the base (the LoRA switched off)."""
    n, length, new = (8, 32, 4) if bench.quick else (64, 512, 16)
    raw: list[dict[str, Any]] = []
    for name, tuned in (("base: adapter off", False), ("candidate: adapter on", True)):
        if bench.has_time(name, raw[-1]["seconds"] if raw else 0):

            def work(*, tuned: bool = tuned) -> None:
                answered(bench.engine(64), [TokenRequest(row, new) for row in bench.prompts(n, length)], tuned=tuned)

            bench.once(work)
            raw.append({"way": name, "seconds": bench.seconds(work)})
    rows = [[each["way"], f"{each['seconds']:.2f}", f"{each['seconds'] / raw[0]['seconds']:.2f}"] for each in raw]
    text = f"{n} prompts of {length} tokens that begin differently, {new} new tokens, in one batch. LoRA of rank 16."
    return Table("What an adapter costs", text, ["side", "seconds", "times the base"], rows), raw


def _share(rate: float, ceiling: float) -> str:
    return f"{rate / ceiling:.1%}"


@dataclass(frozen=True, slots=True)
class Part:
    """One table, and how many seconds it is made for."""

    name: str
    seconds: float
    run: Callable[[Bench, Ceilings], tuple[Table, list[dict[str, Any]]]]


PARTS = (
    Part("reading", 30, reading),
    Part("writing", 70, writing),
    Part("sharing", 60, sharing),
    Part("labels", 30, labels),
    Part("adapter", 20, adapter),
)
