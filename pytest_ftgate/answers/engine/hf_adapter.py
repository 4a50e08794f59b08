"""Put an adapter on a loaded base with peft, and read every tensor of its file back from the model.

peft is given settings of ours (model/adapter.py), so that no pattern of the adapter is run and nothing is looked up by
name; where tokens were added, the model's embedding is first given the size that the file has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.engine import embedding, memory
from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.wording import brief
from pytest_ftgate.model.adapter import CONFIG, PREFIX, WEIGHTS, AdapterFolder

TABLE_ENDS = ("weight", "base_layer.weight", "token_adapter.base_layer.weight", "modules_to_save.weight")
"""How the rows of all tokens are called in the file, below the name of the layer."""


def put_adapter(base: Any, path: Path) -> Any:
    """The PeftModel; `base` becomes part of it. Raises IdentityError where peft cannot make it."""
    from peft import PeftModel
    from safetensors import SafetensorError

    adapter = AdapterFolder(path)
    config = _peft_config(adapter)
    _resize(base, adapter)
    try:
        with memory.told(base.device, f"putting {path} on its base"):
            model = PeftModel.from_pretrained(base, str(path), config=config, local_files_only=True)
    except (
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        TypeError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise IdentityError(
            f"peft cannot put the adapter on this base: {memory.first_line(error)}",
            fix="check that the adapter was trained on this base (--ft-base)",
        ) from error
    return model.eval()


def _peft_config(adapter: AdapterFolder) -> Any:
    from peft import LoraConfig
    from peft import __version__ as installed

    settings = adapter.settings()
    known = {field.name for field in fields(LoraConfig)}
    # peft leaves out what it does not know, with a warning: other arithmetic than was trained, unless it is off.
    unknown = sorted(key for key in settings.keys() - known if settings[key])
    if unknown:
        raise IdentityError(
            f"{CONFIG}: peft {installed} does not know {brief(unknown[0])}",
            fix="install the peft version that saved the adapter",
        )
    try:
        return LoraConfig.from_peft_type(**{key: value for key, value in settings.items() if key in known})
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise IdentityError(
            f"{CONFIG}: peft {installed} refuses it: {memory.first_line(error)}", fix="train the adapter again"
        ) from error


def _resize(base: Any, adapter: AdapterFolder) -> None:
    """Give the embedding as many rows as the file has for it; refuse rows whose values stand nowhere."""
    names = {
        side: _name_of(base, layer)
        for side, layer in (("input", base.get_input_embeddings()), ("output", base.get_output_embeddings()))
    }
    rows = {side: _rows(adapter, name) for side, name in names.items()}
    wanted = {found for found in rows.values() if found is not None}
    if not wanted or wanted == {len(embedding.table(base))}:
        return
    tied = bool(base.config.get_text_config(decoder=True).tie_word_embeddings)
    if len(wanted) > 1 or rows["input"] is None or (rows["output"] is None and not tied):
        raise IdentityError(
            f"{adapter.name} was trained with another number of tokens than its base has, and {WEIGHTS} does not hold "
            "both embeddings: the new rows are in no file",
            fix="save it again with model.save_pretrained(..., save_embedding_layers=True)",
        )
    # The values of new rows are drawn at random here, and replaced by the file's, as the read-back proves.
    base.resize_token_embeddings(wanted.pop(), mean_resizing=False)


def _rows(adapter: AdapterFolder, layer: str) -> int | None:
    for end in TABLE_ENDS:
        if (tensor := adapter.tensors.get(f"{PREFIX}{layer}.{end}")) is not None and tensor.shape:
            return tensor.shape[0]
    return None


def _name_of(model: Any, layer: Any) -> str:
    return next((name for name, module in model.named_modules() if module is layer), "")


def read_back(model: Any, path: Path) -> int:
    """Every tensor of the file equals the parameter in the model, none is left over, all are finite.

    How many there are. Raises IdentityError.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(str(path / WEIGHTS))
    # Not "auto": that asks the hub whether the base has another vocabulary.
    loaded = dict(get_peft_model_state_dict(model, save_embedding_layers=False))
    whole: Mapping[str, Any] = model.state_dict()
    for name in stored.keys() - loaded.keys():  # of the embedding, where tokens were added
        if known := next((known for known in _in_the_model(name) if known in whole), ""):
            loaded[name] = whole[known]
    missing, extra = sorted(set(stored) - set(loaded)), sorted(set(loaded) - set(stored))
    if missing or extra:
        raise IdentityError(
            f"read-back: {len(missing)} tensors of the adapter file are not in the model, "
            f"{len(extra)} in the model are not in the file (for instance {brief((missing or extra)[0])})",
            fix="the adapter was made for another model or is damaged: train it again on this base",
        )
    for name, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise IdentityError(f"tensor {brief(name)} of the adapter holds NaN or infinity", fix="train it again")
        found = loaded[name].cpu()
        if tensor.shape != found.shape or not torch.equal(tensor.to(found.dtype), found):
            raise IdentityError(f"tensor {brief(name)} in the model differs from the file", fix="train it again")
    return len(stored)


def _in_the_model(name: str) -> tuple[str, ...]:
    """Names under which the model may hold a tensor of the file: its own, and with the adapter's name in it."""
    inner = name.replace(".modules_to_save.", ".modules_to_save.default.")
    return name, inner, f"{name}.default"
