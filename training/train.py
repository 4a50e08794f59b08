"""One run: load the base, train with TRL, write adapter or model, and `ftgate.json` last.

Everything is written below `OUTPUT.partial` and renamed at the end, so a killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import Manifest
from training.arguments import as_args, trainer_arguments
from training.config import TrainingConfig
from training.device import Device, find_device, require_memory
from training.failed import TrainingFailed, memory_told, smaller_base, smaller_steps
from training.manifest import build_manifest
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
from training.progress import ProgressLine


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run wrote."""

    output_dir: Path
    steps: int
    first_loss: float
    """Of the first step."""
    last_loss: float
    """As last logged (mean of the last `logging_steps` steps)."""
    kept: Mapping[str, Json]
    """Which weights were kept by their loss on the dev rows (see `kept_weights`); {} where it was the last."""
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
    arguments, notes = trainer_arguments(config, device)
    args = as_args(config, arguments, partial_dir(config))
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
        with memory_told(lambda: "before the first step", fix=smaller_base(config)):
            trainer = config.row.make_trainer(checked, args, line or ProgressLine())
    except (TrainingDataError, TrainingFailed):
        if args.process_index == 0 and not resume:
            discard(config)
        raise
    if args.process_index == 0 and not resume:
        write_plan(config, manifest)
    with memory_told(lambda: f"after step {trainer.state.global_step}", fix=smaller_steps(config)):
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
    return Finished(
        output_dir=config.output_dir,
        steps=trainer.state.global_step,
        first_loss=losses[0],
        last_loss=losses[-1],
        kept=kept_weights(trainer.state),
        warnings=manifest.warnings,
    )


def _run(trainer: Any, manifest: Manifest, checkpoint: Path | None) -> Manifest:
    """Train to the end; the manifest then says from where, if the run was resumed. Raises TrainingFailed."""
    import torch

    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trained = [weights for weights in trainer.model.parameters() if weights.requires_grad]
    broken = sum(1 for weights in trained if not bool(torch.isfinite(weights).all()))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if broken or not all(math.isfinite(loss) for loss in losses):
        found = f"{broken} of {len(trained)} trained tensors are not finite" if broken else "the loss is not finite"
        raise TrainingFailed(f"{found}, so the run diverged: lower learning_rate, and check base and rows")
    note = () if checkpoint is None else (f"resumed from {checkpoint.name}",)
    kept = kept_weights(trainer.state)
    hyperparameters = {**manifest.hyperparameters, "kept": kept} if kept else manifest.hyperparameters
    return replace(manifest, hyperparameters=hyperparameters, warnings=(*manifest.warnings, *note))


def kept_weights(state: Any) -> dict[str, Json]:
    """Which weights were kept by their loss on the dev rows, and how far the run went; {} where it was the last."""
    if state.best_model_checkpoint is None:
        return {}
    return {
        "step": state.best_global_step,
        "eval_loss": state.best_metric,
        "last_step": state.global_step,
        "max_steps": state.max_steps,
        "stopped_early": state.global_step < state.max_steps,
    }


def _hyperparameters(
    checked: Checked, arguments: Mapping[str, Json], device: Device, *, processes: int
) -> dict[str, Json]:
    config, mix = checked.config, checked.mix
    found: dict[str, Json] = {
        config.section: {**arguments, **_as_written(config)},
        "data": {
            "rows": len(mix.rows),
            "replay_rows": mix.replay_rows,
            "replay_share": config.data.replay_share,
            "dev_rows": len(mix.dev),
            "dev_share": config.data.dev_share,
        },
        "device": device.name,
        "processes": processes,
    }
    if config.lora is not None:
        found["lora"] = dict(config.lora)
    if config.quantization is not None:
        found["quantization"] = dict(config.quantization)
    if config.teacher is not None:
        found["teacher"] = dict(config.teacher.provenance)
    if config.early_stopping is not None:
        found["early_stopping"] = dict(config.early_stopping)
    return found


def _as_written(config: TrainingConfig) -> dict[str, Json]:
    """What the trainer is not told, since the rows are masked already."""
    name = "assistant_only_loss"
    return {name: config.arguments[name]} if name in config.arguments else {}
