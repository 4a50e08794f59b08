"""Memory that runs out while models are loaded and asked: said as that, never as a damaged file or a refusal."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_engine_hf import answers, engine_for, requests
from tinymodel import World, make_adapter, make_base, record

from pytest_ftgate.answers.engine import decode, memory, support
from pytest_ftgate.errors import EngineError

ALLOCATION = "CUDA out of memory. Tried to allocate 2.00 GiB"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def cuda() -> Exception:
    import torch

    return torch.OutOfMemoryError(ALLOCATION)


def of_the_cpu() -> Exception:
    import torch

    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("2**60 bytes were found")


def wrapped() -> Exception:
    try:
        raise RuntimeError("the model cannot be moved") from cuda()
    except RuntimeError as error:
        return error


SAYINGS: list[Callable[[], Exception]] = [
    cuda,
    of_the_cpu,
    wrapped,
    lambda: RuntimeError("CUDA error: out of memory"),
    lambda: RuntimeError(CUBLAS),
    lambda: MemoryError(),
    lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS: list[Exception] = [
    RuntimeError("size mismatch for lm_head.weight"),
    OSError(errno.ENOENT, "No such file"),
    ValueError("out of memory of a name"),
]


@pytest.mark.parametrize("made", SAYINGS)
def test_every_way_of_saying_it_is_known(made: Callable[[], Exception]) -> None:
    assert memory.ran_out(made())


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    assert not memory.ran_out(error)
    with pytest.raises(type(error)) as caught, memory.told("cpu", "loading"):
        raise error
    assert caught.value is error


PLACES = {
    "loading": "transformers.AutoModelForCausalLM.from_pretrained",
    "moving": "transformers.PreTrainedModel.to",
    "adapter": "peft.PeftModel.from_pretrained",
    "probe": "torch.nn.Embedding.forward",
    "try": f"{support.__name__}._by_trying",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("made", [cuda, lambda: RuntimeError(CUBLAS)], ids=["cuda", "cublas"])
def test_memory_that_runs_out_before_the_first_answer_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str, made: Callable[[], Exception]
) -> None:
    engine = engine_for(world.root)

    def full(*_: Any, **__: Any) -> Any:
        raise made()

    monkeypatch.setattr(PLACES[place], full)
    with pytest.raises(EngineError, match=r"^out of memory while .* on cpu: CUDA") as caught:
        engine.describe()
    for option in ("--ft-quantize=nf4", "--ft-dtype=bfloat16", "--ft-device"):
        assert option in str(caught.value)
    monkeypatch.undo()
    assert engine.describe()["decode"] == "shared-prefix"  # and with memory it goes on


def test_memory_that_runs_out_while_weights_become_4_bit_is_said(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers swallows the error there, and raises words that do not name it."""
    pytest.importorskip("bitsandbytes")
    copy = world.copy(tmp_path)
    base = make_base(tmp_path / "wide", hidden_size=64)
    record(make_adapter(base, tmp_path / "runs" / "wide"), base)

    def full(*_: Any, **__: Any) -> Any:
        raise cuda()

    monkeypatch.setattr("transformers.integrations.bitsandbytes.Bnb4bitQuantize.convert", full)
    with pytest.raises(EngineError, match=r"^out of memory while loading"):
        engine_for(copy.root, "runs/wide", quantize="nf4").describe()


def test_a_library_without_memory_halves_the_batch_too_and_other_errors_do_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, step = engine_for(world.root, batch_size=16), decode.step
    asked = requests(engine, 12)
    assert engine.describe()["batch_halvings"] == 0
    said = [CUBLAS]

    def small(model: Any, batch: Any, chosen: Any) -> Any:
        if len(chosen) > 4:
            raise RuntimeError(said[0])
        return step(model, batch, chosen)

    monkeypatch.setattr(decode, "step", small)
    assert len(answers(engine, asked)) == 12
    assert int(str(engine.describe()["batch_halvings"])) >= 1
    said[0] = "device-side assert triggered"
    other = engine_for(world.root, batch_size=16)
    other.describe()
    with pytest.raises(RuntimeError, match="device-side assert"):
        answers(other, asked)
    assert other.describe()["batch_halvings"] == 0


def test_how_much_is_free_is_said_where_the_device_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    device = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**29)
    wanted = r"while loading base on cuda:0 \(1\.50 of 80\.00 GiB free\): CUDA out of"
    with pytest.raises(EngineError, match=wanted), memory.told(device, "loading base"):
        raise cuda()

    def broken(_: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert memory.free_now(device) == ""
    assert memory.free_now(torch.device("cpu")) == ""
