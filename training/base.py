"""Finding and loading the base model: a directory, or a hub snapshot pinned to a commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.engine.memory import ran_out
from pytest_ftgate.files.digests import BASE_PATTERNS
from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.files.wording import brief, describe, listed, shown
from training.config import TrainingConfig

_JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def base_directory(config: TrainingConfig) -> Path:
    """The directory that holds the base model; a hub id is downloaded (safetensors, config and tokenizer only).

    Raises TrainingDataError: no such repository or commit, no access, no network, or no safetensors in it.
    """
    base = config.base
    directory = base.directory if base.directory is not None else _snapshot(config)
    if not (directory / "config.json").is_file():
        found, fix = "none in it", "name a model directory"
        if (directory / "adapter_config.json").is_file():
            found, fix = "an adapter", "merge it into its base first (peft: `merge_and_unload`), or name a whole model"
        raise _problem(config, f"expected a model directory with config.json, found {found}", fix)
    if not any(directory.glob("*.safetensors")):
        what = "expected weights as *.safetensors, found none in the base model's directory"
        raise _problem(config, what, "convert the weights to safetensors (pickle files are never loaded)")
    for name in _JSON_FILES:
        if (directory / name).is_file() and not _is_object(directory / name):
            what = f"expected a JSON object in {shown(directory / name)}, found something else"
            raise _problem(config, what, "restore the file as it was published")
    return directory


def _is_object(path: Path) -> bool:
    try:
        # Not strictjson: published configs hold Infinity, which transformers accepts.
        return isinstance(json.loads(path.read_bytes()), dict)
    except (ValueError, RecursionError):
        return False


def _snapshot(config: TrainingConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = list(BASE_PATTERNS)
        return Path(snapshot_download(config.base.id, revision=config.base.revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        what = f"expected {brief(config.base.id)} in the hub cache or on the network, found neither"
        raise _problem(config, what, "download it once with network access (HF_HUB_OFFLINE unset)") from None
    except (HfHubHTTPError, HFValidationError) as error:
        what = f"expected a readable hub repository {brief(config.base.id)}, found {type(error).__name__}"
        raise _problem(config, what, "check id and revision; for a gated model, log in with `hf auth login`") from None


def load_tokenizer(config: TrainingConfig, directory: Path) -> Any:
    """The base's tokenizer, with a pad token. Raises TrainingDataError where it cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        what = f"expected a tokenizer that transformers can load, found {said(error)}"
        raise _problem(config, what, f"check the tokenizer files in {shown(directory)}") from None
    if tokenizer.eos_token_id is None:
        what = "expected a tokenizer with an end mark (eos_token), found none"
        raise _problem(config, what, "set eos_token in tokenizer_config.json: without it no answer ever ends")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def stop_ids(config: TrainingConfig, tokenizer: Any, directory: Path) -> frozenset[int]:
    """Token ids that end an answer: the tokenizer's end mark, and those of generation_config.json."""
    path = directory / "generation_config.json"
    named = json.loads(path.read_bytes()).get("eos_token_id") if path.is_file() else None
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(token) is int for token in ids):
        what = f"expected token ids as eos_token_id in {shown(path)}, found {describe(named)}"
        raise _problem(config, what, "write a number, or a list of numbers")
    return frozenset([tokenizer.eos_token_id, *ids])


def context_length(config: TrainingConfig, directory: Path) -> int | None:
    """Positions that the base model was made for; None where its config does not say."""
    from transformers import AutoConfig

    try:
        model_config = AutoConfig.from_pretrained(directory, trust_remote_code=False).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        what = f"expected a model that transformers can load, found {said(error)}"
        raise _problem(config, what, f"check {shown(directory / 'config.json')}") from None
    length: int | None = model_config.to_dict().get("max_position_embeddings")
    return length


def load_model(config: TrainingConfig, directory: Path, *, bf16: bool, device: Any) -> Any:
    """The base model in fp32, bf16 (`bf16`) or 4 bits (placed on `device`), ready to be trained.

    Where the whole model is trained the weights are fp32 also with `bf16`: small updates would be lost in bf16 weights.

    Raises TrainingDataError where transformers cannot load it; where memory runs out, what the library raised.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    frozen_in_bf16 = bf16 and config.row.trains == "adapter"
    arguments: dict[str, Any] = {"dtype": torch.bfloat16 if frozen_in_bf16 else torch.float32}
    if config.quantization is not None:
        # 4-bit weights are made while loading, so they must be put where they stay; no device_map otherwise,
        # because it breaks `accelerate launch`.
        arguments["quantization_config"] = _quantization(config)
        arguments["device_map"] = {"": device}
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            directory, trust_remote_code=False, output_loading_info=True, **arguments
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if ran_out(error):
            raise
        what = f"expected a model that transformers can load, found {said(error)}"
        raise _problem(config, what, f"check the files in {shown(directory)}") from None
    if missing := sorted(found["missing_keys"]):
        # transformers only warns, and starts them at random: an adapter for no model that exists.
        what = f"expected every weight of the model in its files, found none for {listed(missing, limit=3)}"
        raise _problem(config, what, f"make config.json and the weights in {shown(directory)} those of one model")
    if config.quantization is not None:
        model = _prepare_4bit(model, gradient_checkpointing=bool(config.arguments["gradient_checkpointing"]))
    return model


def _quantization(config: TrainingConfig) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    options = dict(config.quantization or {})
    dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    options["bnb_4bit_compute_dtype"] = dtypes[options["bnb_4bit_compute_dtype"]]
    return BitsAndBytesConfig(**options)


def _prepare_4bit(model: Any, *, gradient_checkpointing: bool) -> Any:
    from peft import prepare_model_for_kbit_training

    return prepare_model_for_kbit_training(
        model,
        use_gradient_checkpointing=gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if gradient_checkpointing else None,
    )


def said(error: Exception) -> str:
    """What a library said, on one line of at most 200 characters, with control characters escaped."""
    text = repr(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"


def _problem(config: TrainingConfig, what: str, fix: str) -> TrainingDataError:
    return TrainingDataError([Problem(shown(config.path), None, "base.id", what, fix)])
