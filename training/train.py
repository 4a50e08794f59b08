"""One run: load the base, train with TRL's SFTTrainer, write adapter or model, and `ftgate.json` last.

Everything is written below `OUTPUT.partial` and renamed at the end, so a killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalsets.errors import Problem, TrainingDataError
from evalsets.manifest import Manifest
from evalsets.types import Json
from evalsets.wording import brief, shown
from training.base import load_model, said
from training.config import TrainingConfig
from training.data import to_dataset
from training.manifest import build_manifest
from training.memory import least_memory
from training.output import (
    discard,
    draw,
    last_checkpoint,
    make_fresh,
    partial_dir,
    publish,
    require_free,
    require_same_plan,
    write_plan,
    write_result,
)
from training.preflight import Checked
from training.progress import ProgressLine, progress_callback

_GPU_ONLY_OPTIMIZERS = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit")


class TrainingFailed(Exception):
    """The run itself failed: the loss is not finite, or memory ran out. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the run computes on."""

    cuda: bool
    bf16: bool
    """Whether it can compute in bfloat16."""
    name: str
    """`cpu`, or the name of the GPU."""
    free_bytes: int | None = None
    """Free memory of the GPU; None on the CPU."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run wrote."""

    output_dir: Path
    steps: int
    first_loss: float
    """Of the first step."""
    last_loss: float
    """As last logged (mean of the last `logging_steps` steps)."""
    warnings: tuple[str, ...]


def train(
    checked: Checked, *, overwrite: bool = False, resume: bool = False, line: ProgressLine | None = None
) -> Finished:
    """Train and write one adapter (or model) directory.

    `resume` continues from the last checkpoint of an unfinished run. Of several processes, each runs this and the
    first writes. Raises TrainingDataError (the base or the settings cannot be used) and TrainingFailed.
    """
    config = checked.config
    require_free(config, overwrite=overwrite, resume=resume)
    device = find_device()
    arguments, notes = sft_arguments(config, device)
    args = _sft_config(config, arguments, partial_dir(config))
    if args.world_size == 1:  # several processes may share the model between them
        require_memory(checked, device, bf16=args.bf16)
    if args.process_index == 0 and not resume:
        make_fresh(config)
    args.distributed_state.wait_for_everyone()
    hyperparameters = _hyperparameters(checked, arguments, device, processes=args.world_size)
    manifest = build_manifest(checked, hyperparameters=hyperparameters, warnings=(*checked.warnings, *notes))
    if resume:
        require_same_plan(config, manifest)
    try:
        trainer = _trainer(checked, args, line or ProgressLine())
    except TrainingDataError:
        if args.process_index == 0 and not resume:
            discard(config)
        raise
    if args.process_index == 0 and not resume:
        write_plan(config, manifest)
    try:
        manifest = _run(trainer, manifest, last_checkpoint(config) if resume else None)
    except KeyboardInterrupt:
        if args.process_index == 0:
            draw(trainer, config, partial_dir(config))
        raise
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # by all processes: gathers what is sharded
    if args.process_index == 0:
        manifest = write_result(trainer, config, checked.base, state=state, manifest=manifest)
        publish(config)
    args.distributed_state.wait_for_everyone()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Finished(config.output_dir, trainer.state.global_step, losses[0], losses[-1], manifest.warnings)


def find_device() -> Device:
    """CUDA where torch sees it, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return Device(cuda=False, bf16=False, name="cpu")
    # As accelerate will, but before anything touches the first GPU from every process.
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    free, _ = torch.cuda.mem_get_info()
    return Device(True, torch.cuda.is_bf16_supported(), torch.cuda.get_device_name(), free)


def require_memory(checked: Checked, device: Device, *, bf16: bool) -> None:
    """Raises TrainingDataError where the device cannot even hold weights, gradients and optimizer states."""
    least = least_memory(checked.config, checked.base, bf16=bf16).bytes
    if device.free_bytes is not None and least > device.free_bytes:
        found = f"found {device.free_bytes / 2**30:.2f} GiB on {brief(device.name)}"
        what = f"expected at least {least / 2**30:.2f} GiB of free GPU memory for {checked.config.method}, {found}"
        fix = "write `method: qlora`, take a smaller base, or free the GPU"
        raise TrainingDataError([Problem(shown(checked.config.path), None, "method", what, fix)])


def sft_arguments(config: TrainingConfig, device: Device) -> tuple[dict[str, Json], list[str]]:
    """SFTConfig arguments for this device, complete, and what had to be changed (to be said aloud).

    Raises TrainingDataError where the file asks for bf16 and the device has none.
    """
    arguments = dict(config.sft)
    notes: list[str] = []
    if arguments["bf16"] and not device.bf16:
        what = f"expected a GPU with bfloat16 for bf16: true, found {brief(device.name)}"
        problem = Problem(shown(config.path), None, "sft.bf16", what, "delete the key: it is then on where the GPU can")
        raise TrainingDataError([problem])
    if arguments["bf16"] is None:
        arguments["bf16"] = device.bf16
    # transformers 5 has one argument for both: below 1, warmup_steps is a share of all steps.
    arguments["warmup_steps"] = arguments.pop("warmup_ratio", arguments["warmup_steps"])
    wanted = arguments.get("optim") or ("paged_adamw_32bit" if config.method == "qlora" else "adamw_torch")
    arguments["optim"] = wanted
    if not device.cuda and wanted in _GPU_ONLY_OPTIMIZERS:
        arguments["optim"] = "adamw_torch"
        notes.append(f"optimizer {wanted} needs a GPU: this run used adamw_torch")
    # The rows are tokenized and masked already (data.py), for both values of assistant_only_loss.
    arguments.update(
        assistant_only_loss=False,
        completion_only_loss=True,
        fp16=False,
        use_cpu=not device.cuda,
        dataloader_pin_memory=device.cuda,
        gradient_checkpointing_kwargs={"use_reentrant": False} if arguments["gradient_checkpointing"] else None,
        ddp_find_unused_parameters=False,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        report_to="none",
        push_to_hub=False,
        disable_tqdm=True,
    )
    return arguments, notes


def _sft_config(config: TrainingConfig, arguments: Mapping[str, Json], partial: Path) -> Any:
    from trl import SFTConfig

    try:
        return SFTConfig(output_dir=str(partial / "checkpoints"), **arguments)
    except (ValueError, TypeError) as error:
        raise _refused(config, "sft", error) from None


def _trainer(checked: Checked, args: Any, line: ProgressLine) -> Any:
    from datasets.utils.logging import disable_progress_bar
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTTrainer

    lora = checked.config.lora
    model = load_model(checked.config, checked.base, bf16=args.bf16, device=args.device)
    disable_progress_bar()  # one for each step of TRL's preparation: noise beside our own line
    try:
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=to_dataset(checked.encoded),
            processing_class=checked.tokenizer,
            peft_config=None if lora is None else LoraConfig(task_type="CAUSAL_LM", **lora),
            callbacks=[progress_callback(line)],
        )
    except ValueError as error:
        raise _refused(checked.config, "", error) from None
    trainer.remove_callback(PrinterCallback)
    return trainer


def _refused(config: TrainingConfig, key: str, error: Exception) -> TrainingDataError:
    what = f"expected settings that TRL and peft accept, found {said(error)}"
    return TrainingDataError([Problem(shown(config.path), None, key, what, "correct the setting that it names")])


def _run(trainer: Any, manifest: Manifest, checkpoint: Path | None) -> Manifest:
    """Train to the end; the manifest then says from where, if the run was resumed. Raises TrainingFailed."""
    import torch

    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except torch.OutOfMemoryError:
        fix = "lower per_device_train_batch_size or max_length, or set gradient_checkpointing: true"
        raise TrainingFailed(f"GPU memory ran out after step {trainer.state.global_step}: {fix}") from None
    trained = [weights for weights in trainer.model.parameters() if weights.requires_grad]
    broken = sum(1 for weights in trained if not bool(torch.isfinite(weights).all()))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if broken or not all(math.isfinite(loss) for loss in losses):
        found = f"{broken} of {len(trained)} trained tensors are not finite" if broken else "the loss is not finite"
        raise TrainingFailed(f"{found}, so the run diverged: lower learning_rate, and check base and rows")
    note = () if checkpoint is None else (f"resumed from {checkpoint.name}",)
    return replace(manifest, warnings=(*manifest.warnings, *note))


def _hyperparameters(
    checked: Checked, arguments: Mapping[str, Json], device: Device, *, processes: int
) -> dict[str, Json]:
    config, mix = checked.config, checked.mix
    found: dict[str, Json] = {
        "sft": {**arguments, "assistant_only_loss": config.sft["assistant_only_loss"]},
        "data": {
            "rows": len(mix.rows),
            "replay_rows": mix.replay_rows,
            "replay_share": config.data.replay_share,
        },
        "device": device.name,
        "processes": processes,
    }
    if config.lora is not None:
        found["lora"] = dict(config.lora)
    if config.quantization is not None:
        found["quantization"] = dict(config.quantization)
    return found
