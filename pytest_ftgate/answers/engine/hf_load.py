"""Load the base once, put the candidate on it, and prove that each side is what it claims to be.

peft loads a broken adapter as the base and says little or nothing, and "adapter off" is not always the base
(bias, PiSSA, OLoRA, resized embeddings). So: every tensor of the file is read back from the model, the adapter must
change probe logits, and switching it off must give the bare base's probe logits bit by bit.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.engine import embedding, memory
from pytest_ftgate.answers.engine.hf_adapter import put_adapter, read_back
from pytest_ftgate.answers.engine.quantised import form_of
from pytest_ftgate.answers.engine.templates import choose
from pytest_ftgate.errors import EngineError, FtgateError, IdentityError
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.model.identity import Candidate, check_recorded_files

PROBES, PROBE_TOKENS = 4, 24


@dataclass(frozen=True, slots=True)
class Settings:
    """How models are run; the same for both sides."""

    device: str
    """`auto` (cuda if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    dtype: str
    """`auto` (bfloat16 on cuda, float32 on cpu), `float32`, `bfloat16`, `float16`."""
    quantize: str
    """`none` or `nf4` (bitsandbytes 4-bit with double quantisation)."""
    batch_size: int


@dataclass(slots=True)
class Sides:
    """The loaded models. Mutable: it owns memory."""

    tuned: Any
    """The candidate: a PeftModel, or a full model."""
    base: Any
    """The base model object; None where the base is `tuned` with its adapter off."""
    tuned_tokenizer: Any
    base_tokenizer: Any
    facts: dict[str, Json]
    """What was checked and found, for the report."""

    @contextlib.contextmanager
    def using(self, *, tuned: bool) -> Iterator[Any]:
        """The model of one side, ready to be called."""
        if tuned:
            yield self.tuned
        elif self.base is not None:
            yield self.base
        else:
            with self.tuned.disable_adapter():
                yield self.tuned


def load(candidate: Candidate, settings: Settings) -> Sides:
    """Load both sides, from the files that the candidate's digests stand for.

    Raises EngineError where something cannot be loaded, IdentityError where it is not what it claims to be.
    """
    candidate.check_unchanged(while_loading=True)
    try:
        sides = _load(candidate, settings)
    except FtgateError:
        candidate.check_unchanged(while_loading=True)  # says more than what half a file led to
        raise
    candidate.check_unchanged(while_loading=True)
    return sides


def _load(candidate: Candidate, settings: Settings) -> Sides:
    _import_libraries(adapter=candidate.kind == "adapter")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it; its advice on kernels is noise here
    check_recorded_files(candidate)
    device, dtype = _device_and_dtype(settings)
    base = _load_model(candidate.base_path, device, dtype, settings.quantize)
    base_tokenizer = _load_tokenizer(candidate.base_path)
    tuned_tokenizer = _load_tokenizer(candidate.path) if candidate.has_tokenizer else base_tokenizer
    facts: dict[str, Json] = {
        "device": _device_name(device),
        "device_type": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        # Said only where it is so: numbers of tokens of the two sides are then of different units.
        **({"own_tokenizer": True} if tuned_tokenizer.get_vocab() != base_tokenizer.get_vocab() else {}),
        "chat_templates": dict(choose(candidate, tuned_tokenizer, base_tokenizer)),
    }
    facts["quantize"] = facts["base_quantize"] = form_of(base)
    if candidate.kind == "base":
        return Sides(base, base, base_tokenizer, base_tokenizer, {**facts, "base": "loaded alone"})
    if candidate.kind == "model":
        tuned = _load_model(candidate.path, device, dtype, settings.quantize)
        facts["base"], facts["quantize"] = "loaded separately", form_of(tuned)
        facts["effect"] = _effect(tuned, base)
        return Sides(tuned, base, tuned_tokenizer, base_tokenizer, facts)
    known = len(embedding.table(base))
    bare = _probe(base, known)
    _require_numbers(bare)
    tuned = put_adapter(base, candidate.path)
    facts["quantize"] = form_of(tuned)
    facts["read_back_tensors"] = read_back(tuned, candidate.path)
    shared = min(known, len(embedding.table(tuned)))
    with tuned.disable_adapter():
        exact = shared == known == len(embedding.table(tuned)) and _same(_probe(tuned, known), bare)
    facts["base"] = "adapter off (probe logits equal the bare base's bit by bit)" if exact else "loaded separately"
    separate = None if exact else _load_model(candidate.base_path, device, dtype, settings.quantize)
    if separate is not None and not _same(_probe(separate, known), bare):
        raise IdentityError("the base gives other logits when it is loaded a second time", fix="check the base files")
    facts["effect"] = _effect(tuned, separate) if separate is not None else _require_effect(_probe(tuned, known), bare)
    return Sides(tuned, separate, tuned_tokenizer, base_tokenizer, facts)


def _effect(tuned: Any, base: Any) -> float:
    """As `_require_effect`, of two models that may know different numbers of tokens."""
    known = min(len(embedding.table(tuned)), len(embedding.table(base)))
    return _require_effect(_probe(tuned, known), _probe(base, known))


@functools.cache
def _import_libraries(*, adapter: bool) -> None:
    """Import what models need while the garbage collector rests, and keep all that out of its later rounds.

    Their million objects stay to the end, and walking through them again and again took a tenth of a run's CPU
    seconds. Models come later, so that none is kept alive by this.
    """
    resting = not gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("transformers.models.auto.modeling_auto")
        if adapter:
            importlib.import_module("peft")
    finally:
        gc.freeze()
        if not resting:
            gc.enable()


def _device_and_dtype(settings: Settings) -> tuple[Any, Any]:
    import torch

    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        with memory.told(device, "asking for a first number"):
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(
            f"device {name!r} cannot be used: {memory.first_line(error)}", fix="use --ft-device=cpu"
        ) from error
    if settings.dtype != "auto":
        return device, {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[settings.dtype]
    return device, torch.float32 if device.type == "cpu" else torch.bfloat16


def _device_name(device: Any) -> str:
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else str(device)


def _load_model(path: Path, device: Any, dtype: Any, quantize: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    extra: dict[str, Any] = {}
    if quantize == "nf4":
        extra["device_map"] = {"": device}
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        with memory.told(device, f"loading {path}"):
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(path),
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **extra,
            )
            if quantize == "none":
                model = model.to(device)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise EngineError(
            f"cannot load a model from {path}: {memory.first_line(error)}", fix="check the directory"
        ) from error
    if lost := sorted(loading["missing_keys"]):
        # transformers fills them with random numbers, and only warns.
        raise IdentityError(
            f"{len(lost)} weights of {path.name} are not in its files, for instance {lost[0][:80]!r}",
            fix="copy the model again, or correct config.json",
        )
    # Nothing may be inherited from the files: every generation passes a complete configuration of its own.
    model.ft_eos_token_id = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    return model.eval()


def _load_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise EngineError(
            f"cannot load a tokenizer from {path}: {memory.first_line(error)}", fix="check its tokenizer files"
        ) from error


def _probe(model: Any, known: int) -> Any:
    """Logits of a few fixed sequences of tokens below `known`, float32 on the CPU: (PROBES, PROBE_TOKENS, vocabulary).

    Two models are asked alike only with the same `known`: one of them may have more tokens.
    """
    import torch

    step = torch.arange(PROBES * PROBE_TOKENS).reshape(PROBES, PROBE_TOKENS)
    ids = (step * 7919 + 13) % known
    with torch.inference_mode(), memory.told(model.device, "asking a loaded model a few tokens"):
        return model(input_ids=ids.to(model.device)).logits.float().cpu()


def _same(left: Any, right: Any) -> bool:
    import torch

    return bool(left.shape == right.shape and torch.equal(left, right))


def _require_effect(tuned: Any, base: Any) -> float:
    """Largest change of a probe logit; IdentityError where the candidate computes exactly what the base does."""
    import torch

    _require_numbers(base)
    if not bool(torch.isfinite(tuned).all()):
        raise IdentityError("the candidate's logits hold NaN or infinity", fix="train it again")
    both = min(tuned.shape[-1], base.shape[-1])  # a candidate may have added tokens
    change = float((tuned[..., :both] - base[..., :both]).abs().max())
    if change == 0.0:
        raise IdentityError(
            "the candidate has no effect: its logits equal the base's on every probe",
            fix="check that training ran (lora_B all zero?) and that --ft-model is not the base itself",
        )
    return change


def _require_numbers(base: Any) -> None:
    """The base's logits are finite: anything beats a base that cannot count. Raises IdentityError."""
    import torch

    if not bool(torch.isfinite(base).all()):
        raise IdentityError("the base's logits hold NaN or infinity", fix="use --ft-dtype=float32, or copy it again")


def free() -> None:
    """Give memory back between tries."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
