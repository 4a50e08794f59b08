"""The engine on a GPU: each precision, base off and on, one prompt at a time, determinism, and memory that runs out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from gpuasked import LABELS, EngineFor, answers, needs, one_by_one, requests, widest_gap
from gpumemory import little_memory

from benchmarks.gpu_model import Shape, random_llama
from pytest_ftgate.answers.engine import hf_load, plain
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.errors import EngineError
from pytest_ftgate.model.identity import resolve_base

PRECISIONS = [("float32", "none"), ("bfloat16", "none"), ("bfloat16", "nf4")]
TIE = {"float32": 1e-3, "bfloat16": 0.25}
"""Logits that two tokens may be apart where rounding decided between them: far under the spread of a model's logits
(about 2 to 4), and above what another order of sums changes in that precision (8 bits of mantissa for bfloat16)."""
BARE = {"float32": 0.0, "bfloat16": 2**-4}
"""Most that a logit may differ between the bare base and the adapter switched off: nothing, and for 16 bits half a unit
in the last place of a logit around 16."""
N = 48


@pytest.mark.parametrize(("dtype", "quantize"), PRECISIONS, ids=["float32", "bfloat16", "nf4"])
def test_each_precision_answers_for_both_sides(
    project: Path, engine_for: EngineFor, device: str, dtype: str, quantize: str
) -> None:
    if quantize == "nf4":
        needs("bitsandbytes")
    engine = engine_for(dtype, quantize)
    facts = engine.describe()
    assert (facts["device_type"], facts["dtype"], facts["quantize"]) == (device.split(":")[0], dtype, quantize)
    assert facts["decode"] == "shared-prefix"
    assert float(str(facts["effect"])) > 0
    told = {}
    for tuned in (True, False):
        found = answers(engine, requests(engine, project, N, tuned=tuned, labels=LABELS), tuned=tuned)
        assert {each.finish_reason for each in found} <= {"stop", "length"}
        for each in found:
            assert sorted(each.label_logprobs or {}) == sorted(LABELS)
            assert all(math.isfinite(value) and value < 0 for value in (each.label_logprobs or {}).values())
        told[tuned] = [each.token_ids for each in found]
    assert told[True] != told[False]
    assert engine.describe()["batch_halvings"] == 0


@pytest.mark.parametrize(("dtype", "quantize"), PRECISIONS, ids=["float32", "bfloat16", "nf4"])
def test_the_adapter_off_is_the_bare_base(
    project: Path, engine_for: EngineFor, device: str, dtype: str, quantize: str
) -> None:
    import torch

    if quantize == "nf4":
        needs("bitsandbytes")
    engine = engine_for(dtype, quantize)
    batch = [list(request.token_ids[:24]) for request in requests(engine, project, 32, tuned=False)]
    ids = torch.tensor(batch, device=device)
    candidate = resolve_base("base", project)
    with torch.inference_mode():
        with engine._sides.using(tuned=False) as model:
            off = model(ids).logits.float()
        with engine._sides.using(tuned=True) as model:
            on = model(ids).logits.float()
        bare = hf_load.load(candidate, hf_load.Settings(device, dtype, quantize, 1)).tuned(ids).logits.float()
    assert float((off - bare).abs().max()) <= BARE[dtype]
    assert float((on - bare).abs().max()) > 10 * BARE[dtype]
    if dtype == "float32":
        assert str(engine.describe()["base"]).startswith("adapter off")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuned", [True, False])
def test_the_answers_are_those_of_model_generate_one_by_one(
    project: Path, engine_for: EngineFor, dtype: str, tuned: bool
) -> None:
    engine = engine_for(dtype, batch_size=16)
    asked = requests(engine, project, 24, tuned=tuned)
    ours = [each.token_ids for each in answers(engine, asked, tuned=tuned)]
    ends = sorted(engine._end_ids(tuned=tuned))
    with engine._sides.using(tuned=tuned) as model:
        theirs = [one_by_one(model, request.token_ids, request.max_new_tokens, ends) for request in asked]
        gap = widest_gap(model, [request.token_ids for request in asked], ours, theirs)
    assert gap <= TIE[dtype]
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= (0.9 if dtype == "float32" else 0.5) * len(asked)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.5)])
def test_labels_packed_in_one_row_weigh_as_one_row_each(
    project: Path, engine_for: EngineFor, dtype: str, tolerance: float
) -> None:
    import torch

    engine = engine_for(dtype)
    asked = requests(engine, project, 24, tuned=True, new=0, labels=LABELS)
    found = answers(engine, asked, tuned=True)
    tokenizer = engine._tokenizer(tuned=True)
    given = [tuple(tokenizer(label, add_special_tokens=False)["input_ids"]) for label in LABELS]
    assert max(map(len, given)) > 1
    with engine._sides.using(tuned=True) as model, torch.inference_mode():
        for request, each in zip(asked, found, strict=True):
            wanted = plain.label_logprobs(model, request.token_ids, given)
            assert list((each.label_logprobs or {}).values()) == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(("dtype", "quantize"), PRECISIONS, ids=["float32", "bfloat16", "nf4"])
def test_a_second_engine_gives_the_same_bits(project: Path, engine_for: EngineFor, dtype: str, quantize: str) -> None:
    """Same machine, same batches, same order: the stored answers may stand for those of another run."""
    if quantize == "nf4":
        needs("bitsandbytes")
    told = []
    for _ in range(2):
        engine = engine_for(dtype, quantize)
        told.append(answers(engine, requests(engine, project, N, tuned=True, labels=LABELS), tuned=True))
    assert told[0] == told[1]  # tokens, and log-probabilities to the last bit


# Memory


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, device: str) -> Path:
    """A random Llama whose batches need hundreds of MiB on a GPU."""
    shape = Shape(768, 6) if device.startswith("cuda") else Shape(128, 2)
    return random_llama(tmp_path_factory.mktemp("wide") / "wide", shape, device=device, dtype="float32")


def wide_engine(wide: Path, device: str, batch_size: int) -> HFEngine:
    return HFEngine(resolve_base(str(wide), wide.parent), hf_load.Settings(device, "float32", "none", batch_size))


def long_prompts(device: str, n: int, length: int) -> list[TokenRequest]:
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (n, length if device.startswith("cuda") else length // 8), generator=generator)
    return [TokenRequest(tuple(row), 8) for row in ids.tolist()]


def test_memory_that_runs_out_halves_the_batch_and_changes_no_answer(wide: Path, device: str) -> None:
    asked = long_prompts(device, 128, 1024)
    roomy = wide_engine(wide, device, 16)
    wanted = [each.token_ids for each in answers(roomy, asked, tuned=False)]
    assert roomy.describe()["batch_halvings"] == 0
    tight = wide_engine(wide, device, 128)
    assert tight.describe()["batch_halvings"] == 0  # loaded, and tried
    with little_memory(device, 640, 16):
        found = answers(tight, asked, tuned=False)
    assert int(str(tight.describe()["batch_halvings"])) >= 1
    told = [each.token_ids for each in found]
    prompts = [request.token_ids for request in asked]
    with roomy._sides.using(tuned=False) as model:
        assert widest_gap(model, prompts, told, wanted) <= TIE["float32"]
    assert sum(a == b for a, b in zip(told, wanted, strict=True)) >= 0.9 * len(asked)


def test_a_single_prompt_that_does_not_fit_is_an_error(wide: Path, device: str) -> None:
    engine = wide_engine(wide, device, 8)
    assert engine.describe()["batch_halvings"] == 0
    with little_memory(device, 2, 0), pytest.raises(EngineError, match="out of memory with a single prompt"):
        answers(engine, long_prompts(device, 8, 4000), tuned=False)
    assert len(answers(engine, long_prompts(device, 8, 64), tuned=False)) == 8  # and with memory it goes on


def test_the_first_batch_is_chosen_by_free_memory(wide: Path, device: str) -> None:
    """With all but 3 GiB taken, a batch that would need 8 is made smaller before it fails, and answers come."""
    import torch

    if not device.startswith("cuda"):
        pytest.skip("only CUDA says how much memory is free")
    engine = wide_engine(wide, device, 1024)
    assert engine.describe()["batch_halvings"] == 0
    hf_load.free()
    free, _ = torch.cuda.mem_get_info(device)
    taken = torch.empty(max(0, free - 3 * 2**30), dtype=torch.uint8, device=device)
    try:
        found = answers(engine, long_prompts(device, 256, 1024), tuned=False)
    finally:
        del taken
    assert {each.finish_reason for each in found} == {"length"}
    assert engine.describe()["batch_halvings"] == 0
