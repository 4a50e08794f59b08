"""What can be wrong with a candidate whatever its base is, in order; and whether an adapter fits a base by its shapes.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.strictjson import read_json
from pytest_ftgate.files.wording import brief
from pytest_ftgate.model.adapter import CONFIG, AdapterFolder, writes_no_text
from pytest_ftgate.model.directory import counted_files
from pytest_ftgate.model.folder import check_one_set, check_pointers, check_sizes
from pytest_ftgate.model.safetensors_header import Tensor, check_shards, read_headers

_DIGITS = re.compile(r"\d+")


def is_adapter(path: Path) -> bool:
    """Whether a directory means to hold an adapter."""
    return (path / CONFIG).is_file()


def check_own_files(path: Path) -> None:
    """What can be wrong with a candidate whatever its base is; the first problem. Raises IdentityError."""
    for problem in own_problems(path):
        raise problem


def own_problems(path: Path) -> Iterator[IdentityError]:
    """Every such problem, in the order in which one wants to know them."""
    adapter = is_adapter(path)
    if adapter:
        yield from AdapterFolder(path).problems()
    said: set[str] = set()
    whole: tuple[Callable[[Path], object], ...] = (
        check_pointers,
        check_shards,
        read_headers,
        check_one_set,
        check_sizes,
        _read_model_config,
    )
    for check in (*((_check_is_one,) if adapter else whole), counted_files):
        try:
            check(path)
        except IdentityError as error:
            if str(error) not in said:
                said.add(str(error))
                yield error


def _read_model_config(path: Path) -> None:
    """A full model is one that writes text, as far as its config.json says. Raises IdentityError."""
    try:
        config = read_json(path / "config.json")
    except InputError as error:
        raise IdentityError(str(error), fix="copy or download it again") from None
    if not isinstance(config, dict):
        raise IdentityError(f"{path.name}/config.json is not an object", fix="copy or download it again")
    named = config.get("architectures")
    heads = [head for head in named if isinstance(head, str)] if isinstance(named, list) else []
    if heads and all(writes_no_text(head) for head in heads):
        raise IdentityError(
            f"{path.name} is a {brief(heads[0])}; only models that write text can be judged",
            fix="judge a model with a head for text (...ForCausalLM)",
        )


def _check_is_one(path: Path) -> None:
    """An adapter's directory holds no full model as well: which of the two ships would depend on who loads it."""
    models = (*path.glob("model*.safetensors"), *path.glob("pytorch_model*.bin"), *path.glob("consolidated*"))
    if whole := sorted(p.name for p in models):
        raise IdentityError(
            f"{path.name} holds both an adapter and the weights of a full model ({', '.join(whole[:3])})",
            fix="keep them in two directories, and judge the one that ships",
        )


def check_fits(adapter: AdapterFolder, base: Mapping[str, Tensor], base_path: Path) -> None:
    """LoRA shapes agree with the base weights that they are added to, either way round (Conv1D keeps (in, out)).

    Names of modules that the base's files do not hold are peft's to judge, unless only the number of a layer is new.
    """
    weights = {name.removesuffix(".weight"): tensor for name, tensor in base.items() if name.endswith(".weight")}
    shapes = {_DIGITS.sub("#", name) for name in weights}
    for module, parts in adapter.parts.items():
        weight, first, second = weights.get(module), parts.get("A"), parts.get("B")
        if weight is None and _DIGITS.sub("#", module) in shapes:
            raise IdentityError(
                f"{adapter.name} does not fit {base_path.name}: the base has no {brief(module)}, only others like it",
                fix="give the base that the adapter was trained on with --ft-base",
            )
        if first is None or second is None or weight is None or len(weight.shape) != 2 or not weight.floating:
            continue
        wanted = (second.shape[0], first.shape[-1])
        if wanted in (weight.shape, weight.shape[::-1]):
            continue
        expects, has = next(
            (want, found) for want, found in zip(wanted[::-1], weight.shape[::-1], strict=True) if want != found
        )
        raise IdentityError(
            f"{adapter.name} does not fit {base_path.name}: {visible(module, limit=80)} is {list(weight.shape)} in the "
            f"base, and the adapter expects {expects} where the base has {has}",
            fix="give the base that the adapter was trained on with --ft-base",
        )
