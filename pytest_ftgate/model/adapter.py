"""An adapter's files, read without torch or peft: the first thing wrong with them, in the order one wants to know it.

Missing or a pointer, cut off, another format than LoRA, another task, settings that no training run writes. None of it
needs the base. What adapter_config.json says is data: nothing it names is imported, and none of its patterns is run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import read_json
from pytest_ftgate.files.wording import brief, describe, listed
from pytest_ftgate.model.adapter_names import MODULE_NAME, applies, is_plain
from pytest_ftgate.model.folder import check_one_set, check_pointers, check_sizes
from pytest_ftgate.model.safetensors_header import Tensor, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
MAX_RANK = 4096
NUMBERS: Mapping[str, float] = {"rank_pattern": MAX_RANK, "alpha_pattern": 1e6}
"""Keys whose own keys peft matches as regular expressions, and the largest value that is sensible."""
FROM_THE_FILE = ("target_modules", "exclude_modules", "layers_pattern", "layers_to_transform")
"""What peft looks for modules with; where one is a pattern, the names in the file of weights stand for all of them."""
HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""`init_lora_weights` that only give A and B their first values, which the file replaces."""
REPEATABLE_STARTS = ("pissa", "olora")
"""Those that also take something out of the base's weights, the same in every load."""
_MLX_KEYS = ("fine_tune_type", "lora_parameters", "lora_layers", "num_layers")
_OTHER_FORMATS: Mapping[str, tuple[str, str]] = {
    "adapters.safetensors": ("an MLX adapter", "mlx"),
    "adapters.npz": ("an MLX adapter", "mlx"),
    "*.gguf": ("an adapter in GGUF", "judge the adapter that it was converted from"),
    "lit_model.pth.lora": ("a LitGPT adapter", "convert it with `litgpt convert_from_litgpt`, or merge it"),
    "adapter_[0-9]*.pt": ("a torchtune adapter", "save it with `output_dir` in the format of peft, or merge it"),
    "*.nemo": ("a NeMo archive", "export it to the format of Hugging Face"),
    "*.distcp": ("a checkpoint of Megatron or torch.distributed", "export it to the format of Hugging Face"),
    "mp_rank_*": ("a Megatron checkpoint", "export it to the format of Hugging Face"),
    "pytorch_lora_weights.safetensors": ("an adapter of diffusers", "judge the LoRA of a language model"),
}
"""Name of a file -> what its directory holds instead of an adapter of peft, and what to do."""
_MLX_FIX = "merge it with `mlx_lm.fuse --dequantize` and judge the full model, or convert it to the format of peft"
_PART = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.weight)?$")


def writes_no_text(head: str) -> bool:
    """Whether a class of transformers by this name does not end in a head that writes text."""
    if head.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")):
        return False
    return head.endswith("Model") or re.search(r"For[A-Z][a-z]", head[:200]) is not None


class AdapterFolder:
    """One adapter's directory. Whatever is read is read once; each property raises IdentityError where it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    @cached_property
    def config(self) -> dict[str, Any]:
        """adapter_config.json."""
        try:
            config = read_json(self.path / CONFIG)
        except InputError as error:
            raise IdentityError(str(error), fix="train the adapter again, or restore the file") from None
        if not isinstance(config, dict):
            raise IdentityError(f"{CONFIG} is not an object", fix="train the adapter again")
        return config

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The header of adapter_model.safetensors."""
        return read_header(self.path / WEIGHTS)

    @cached_property
    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Name of an adapted module -> its tensors: A, B, embedding_A, embedding_B, magnitude_vector."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            if match := _PART.search(name):
                found.setdefault(name[: match.start()].removeprefix(PREFIX), {})[match[1]] = tensor
        return found

    @property
    def ranks(self) -> dict[str, int]:
        """Name of an adapted module -> rank of its tensors, where they tell it."""
        pairs = ((name, parts.get("A") or parts.get("embedding_A")) for name, parts in self.parts.items())
        return {name: a.shape[0] for name, a in pairs if a is not None and a.shape}

    def problems(self) -> Iterator[IdentityError]:
        """Everything wrong with it, in order; what follows from the same fault is said once."""
        said: set[str] = set()
        for check in self._checks():
            try:
                check()
            except IdentityError as error:
                if str(error) not in said:
                    said.add(str(error))
                    yield error

    def check(self) -> None:
        """Raises IdentityError, with the first problem."""
        for problem in self.problems():
            raise problem

    def _checks(self) -> tuple[Callable[[], None], ...]:
        return (
            lambda: check_pointers(self.path),
            self._check_format,
            self._check_weights,
            lambda: check_one_set(self.path),
            lambda: check_sizes(self.path),
            self._check_task,
            self._check_start,
            self._check_settings,
            self._check_names,
            self._check_ranks,
        )

    def _check_format(self) -> None:
        names = [entry.name for entry in self.path.iterdir()]
        kind = self.config.get("peft_type")
        ours = WEIGHTS in names
        if kind is None and ("adapters.safetensors" in names or sum(key in self.config for key in _MLX_KEYS) > 1):
            raise IdentityError(f"{self.name} is an MLX adapter, and only LoRA of peft can be judged", fix=_MLX_FIX)
        for pattern, (what, fix) in _OTHER_FORMATS.items():
            if not ours and any(Path(name).match(pattern) for name in names):
                fix = _MLX_FIX if fix == "mlx" else fix
                raise IdentityError(f"{self.name} is {what}, and only LoRA of peft can be judged", fix=fix)
        if not ours and "adapter_model.bin" in names:
            raise IdentityError(
                f"{self.name} holds adapter_model.bin, a pickle, which can run code when it is loaded",
                fix="save it as safetensors: model.save_pretrained(..., safe_serialization=True)",
            )
        if not ours:
            raise IdentityError(f"{self.name} holds no {WEIGHTS}", fix="finish or repeat the training run")

    def _check_weights(self) -> None:
        if (self.path / WEIGHTS).is_file() and not self.tensors:
            raise IdentityError(f"{self.name}/{WEIGHTS} holds no tensor", fix="train the adapter again")
        kind = self.config.get("peft_type")
        if kind != "LORA":
            raise IdentityError(
                f"{CONFIG}: peft_type is {brief(kind)}; only LORA can be judged",
                fix="train a LoRA adapter, or merge it and judge the full model directory",
            )
        if not (self.path / WEIGHTS).is_file():
            return
        whole = sorted(name for name, tensor in self.tensors.items() if not tensor.floating)
        if whole:
            raise IdentityError(
                f"{self.name}/{WEIGHTS}: tensor {brief(whole[0])} is stored as {self.tensors[whole[0]].dtype}, "
                "expected 16, 32 or 64 bit floating point",
                fix="save the adapter as it was trained",
            )
        if not self.parts:
            raise IdentityError(
                f"{self.name}/{WEIGHTS} holds {len(self.tensors)} tensors, for instance {brief(min(self.tensors))}, "
                "and none is the lora_A or lora_B of peft: it is of another format, or no LoRA",
                fix="convert it to the format of peft, or merge it and judge the full model directory",
            )

    def _check_task(self) -> None:
        task = self.config.get("task_type")
        if task not in (None, "CAUSAL_LM"):
            raise IdentityError(
                f"{CONFIG}: task_type is {brief(task)}; only CAUSAL_LM, a model that writes text, can be judged",
                fix="judge an adapter that was trained with task_type CAUSAL_LM",
            )
        # peft writes this block where it was given no task. It names a class, for an import that never happens here.
        block = self.config.get("auto_mapping")
        if block is not None and not isinstance(block, dict):
            raise IdentityError(f"{CONFIG}: auto_mapping is {describe(block)}, expected an object", fix="remove it")
        head = (block or {}).get("base_model_class")
        if task is None and isinstance(head, str) and writes_no_text(head):
            raise IdentityError(
                f"{CONFIG}: it was trained on a {brief(head)}; only models that write text can be judged",
                fix="judge an adapter that was trained on a model with a head for text (...ForCausalLM)",
            )

    def _check_start(self) -> None:
        start = self.config.get("init_lora_weights", True)
        known = start.lower() if isinstance(start, str) else start
        if not isinstance(known, str | bool | None) or known not in (*HARMLESS_STARTS, *REPEATABLE_STARTS):
            raise IdentityError(
                f"{CONFIG}: init_lora_weights is {brief(start)}: its start changes the base's weights in a way that "
                "this file does not tell, so that each load is another model and none is the trained one",
                fix="convert it to a plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=START) "
                "with the adapter as it was before training, or merge it and judge the full model",
            )

    def _check_settings(self) -> None:
        config = self.config
        if config.get("megatron_config"):
            raise IdentityError(
                f"{CONFIG}: megatron_config is set, which asks for layers of Megatron",
                fix="export the adapter to the format of Hugging Face, with megatron_config null",
            )
        if config.get("layer_replication"):
            raise IdentityError(
                f"{CONFIG} uses layer_replication, which is refused", fix="merge it and judge the full model"
            )
        base = config.get("base_model_name_or_path")
        if base is not None and not isinstance(base, str):
            raise IdentityError(
                f"{CONFIG}: base_model_name_or_path is {describe(base)}, expected text",
                fix="write the name of the base, or null",
            )
        rank, alpha = config.get("r"), config.get("lora_alpha")
        if type(rank) is not int or not 0 < rank <= MAX_RANK:
            raise IdentityError(f"{CONFIG}: r is {brief(rank)}, expected 1..{MAX_RANK}", fix="train the adapter again")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha) or alpha <= 0:
            raise IdentityError(f"{CONFIG}: lora_alpha is {brief(alpha)}, expected > 0", fix="train it again")
        for key, largest in NUMBERS.items():
            numbers = config.get(key) or {}
            if not isinstance(numbers, dict) or not all(_is_between(n, largest) for n in numbers.values()):
                raise IdentityError(
                    f"{CONFIG}: {key} is not a mapping of module names to numbers above 0, at most {largest:g}",
                    fix="train the adapter again",
                )

    def _check_names(self) -> None:
        for key in ("modules_to_save", "target_parameters"):
            names = self.config.get(key) or []
            if not _are_plain(names):
                raise IdentityError(
                    f"{CONFIG}: {key} is not a list of plain module names (a pattern can hang the loader)",
                    fix=f"list the names; the file of weights holds {self._names_shown()}",
                )
        for key in FROM_THE_FILE[:3]:
            value = self.config.get(key)
            if isinstance(value, list) and not all(isinstance(name, str) for name in value):
                raise IdentityError(f"{CONFIG}: {key} is {describe(value)} that is no list of names", fix="list names")
            if not isinstance(value, str | list | None):
                raise IdentityError(f"{CONFIG}: {key} is {describe(value)}, expected a list of names", fix="list names")
        if strange := [name for name in self.parts if not MODULE_NAME.fullmatch(name)]:
            raise IdentityError(
                f"{self.name}/{WEIGHTS}: {brief(strange[0])} is no name of a module", fix="train the adapter again"
            )
        patterns = [key for key in self.config.get("alpha_pattern") or {} if not is_plain(key)]
        if patterns:
            raise IdentityError(
                f"{CONFIG}: alpha_pattern holds {brief(patterns[0])}, a pattern, which can hang the loader",
                fix=f"write the names of the modules; the file of weights holds {self._names_shown()}",
            )

    def _names_shown(self) -> str:
        ends = sorted({name.rpartition(".")[2] for name in self.parts})
        return listed([brief(end).strip("'\"") for end in ends], limit=6) or "none"

    def _check_ranks(self) -> None:
        """r and rank_pattern agree with the tensors, A with B."""
        if self.config.get("target_parameters"):
            return  # one tensor holds the ranks of many experts
        patterns, rank = self.config.get("rank_pattern") or {}, self.config.get("r")
        known = all(is_plain(key) for key in patterns)
        for name, parts in self.parts.items():
            first, second = parts.get("A") or parts.get("embedding_A"), parts.get("B") or parts.get("embedding_B")
            if first is None or second is None or len(first.shape) < 2 or len(second.shape) < 2:
                raise IdentityError(
                    f"{self.name}/{WEIGHTS}: {brief(name)} lacks lora_A or lora_B, or their shapes are not gathered",
                    fix="save the adapter again, with all its tensors on one process",
                )
            wanted = applies(patterns, name, rank) if known else first.shape[0]
            if first.shape[0] != wanted or second.shape[1] != wanted:
                raise IdentityError(
                    f"{CONFIG}: r is {brief(wanted)} for {brief(name)}, and its tensors in {WEIGHTS} have rank "
                    f"{first.shape[0]}" + (f" and {second.shape[1]}" if second.shape[1] != first.shape[0] else ""),
                    fix="restore the adapter_config.json that was saved with these weights",
                )

    def settings(self) -> dict[str, Any]:
        """What peft is given: without patterns, names of classes and starts that the file's tensors replace."""
        found = {key: value for key, value in self.config.items() if key != "auto_mapping"}
        value = found.get("target_modules")
        patterns = [key for key in FROM_THE_FILE[:3] if not _are_plain(found.get(key) or [])]
        if patterns or (value is None and not found.get("target_parameters")):
            found |= dict.fromkeys(FROM_THE_FILE)
            found["target_modules"] = sorted(self.parts)
        found["init_lora_weights"] = self._start()
        for key in ("rank_pattern", "alpha_pattern"):
            if any(not MODULE_NAME.fullmatch(name) for name in found.get(key) or {}):
                found[key] = self._spelled_out(key)
        return found

    def _start(self) -> bool | str:
        start = self.config.get("init_lora_weights", True)
        return True if start in HARMLESS_STARTS else str(start).lower()

    def _spelled_out(self, key: str) -> dict[str, float]:
        """The value of each module by its full name: what a pattern comes to."""
        if key == "rank_pattern":
            return {f"^{re.escape(name)}": rank for name, rank in self.ranks.items() if rank != self.config["r"]}
        named = {name: applies(self.config[key], name, None) for name in self.parts}
        return {f"^{re.escape(name)}": alpha for name, alpha in named.items() if alpha is not None}


def _are_plain(names: object) -> bool:
    names = [names] if isinstance(names, str) else names
    return isinstance(names, list) and all(isinstance(n, str) and MODULE_NAME.fullmatch(n) for n in names)


def _is_between(value: Any, largest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= largest
