"""Settings of a training file as TRL's arguments: complete, and for the device at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.files.wording import brief, shown
from training.base import said
from training.config import TrainingConfig
from training.device import Device

_GPU_ONLY_OPTIMIZERS = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit")


def trainer_arguments(config: TrainingConfig, device: Device) -> tuple[dict[str, Json], list[str]]:
    """The trainer's arguments for this device, complete, and what had to be changed (to be said aloud).

    Raises TrainingDataError where the file asks for bf16 and the device has none.
    """
    arguments = dict(config.arguments)
    notes: list[str] = []
    if arguments["bf16"] and not device.bf16:
        what = f"expected a GPU with bfloat16 for bf16: true, found {brief(device.name)}"
        fix = "delete the key: it is then on where the GPU can"
        raise TrainingDataError([Problem(shown(config.path), None, f"{config.section}.bf16", what, fix)])
    if arguments["bf16"] is None:
        arguments["bf16"] = device.bf16
    # transformers 5 has one argument for both: below 1, warmup_steps is a share of all steps.
    arguments["warmup_steps"] = arguments.pop("warmup_ratio", arguments["warmup_steps"])
    wanted = arguments.get("optim") or ("paged_adamw_32bit" if config.quantization else "adamw_torch")
    arguments["optim"] = wanted
    if not device.cuda and wanted in _GPU_ONLY_OPTIMIZERS:
        arguments["optim"] = "adamw_torch"
        notes.append(f"optimizer {wanted} needs a GPU: this run used adamw_torch")
    if config.row.rows == "answers":
        # The rows are tokenized and masked already (data.py), for both values of assistant_only_loss.
        arguments.update(assistant_only_loss=False, completion_only_loss=True)
    arguments.update(
        fp16=False,
        use_cpu=not device.cuda,
        dataloader_pin_memory=device.cuda,
        gradient_checkpointing_kwargs={"use_reentrant": False} if arguments["gradient_checkpointing"] else None,
        restore_callback_states_from_checkpoint=config.early_stopping is not None,
        ddp_find_unused_parameters=False,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to="none",
        push_to_hub=False,
        disable_tqdm=True,
    )
    return arguments, notes


def as_args(config: TrainingConfig, arguments: Mapping[str, Json], partial: Path) -> Any:
    """TRL's SFTConfig or DPOConfig. Raises TrainingDataError where it refuses the settings."""
    try:
        return config.row.make_arguments(output_dir=str(partial / "checkpoints"), **arguments)
    except (ValueError, TypeError) as error:
        raise refused(config, config.section, error) from None


def refused(config: TrainingConfig, key: str, error: Exception) -> TrainingDataError:
    """The problem of settings that TRL or peft refuses."""
    what = f"expected settings that TRL and peft accept, found {said(error)}"
    return TrainingDataError([Problem(shown(config.path), None, key, what, "correct the setting that it names")])
