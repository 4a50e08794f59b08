"""Writes the output of a run below `OUTPUT.partial`; it gets its name at the end, the manifest last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pytest_ftgate.files.digests import BASE_PATTERNS, directory_digests
from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.files.wording import brief, listed, shown
from pytest_ftgate.model.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from training.config import TrainingConfig
from training.manifest import relative_posix
from training.plot import PLOT_NAME, save_plot

LOG_NAME = "training_log.json"
_PLAN_NAME = "plan"


def require_free(config: TrainingConfig, *, overwrite: bool = False, resume: bool = False) -> None:
    """Raises TrainingDataError where a finished or unfinished run would be lost, or none is there to be resumed."""
    output, unfinished = config.output_dir, last_checkpoint(config)
    name, partial = brief(shown(output)), brief(shown(partial_dir(config)))
    if output.exists() and not overwrite:
        what = f"expected a new directory, found {name}"
        fix = "delete it, pass --output-dir, or pass --overwrite to replace it when the run has finished"
    elif output.exists() and not (output / MANIFEST_NAME).is_file():
        what = f"expected the directory of an earlier run to replace, found {name} without {MANIFEST_NAME}"
        fix = "delete it yourself if nothing in it is needed, or pass another --output-dir"
    elif resume and unfinished is None:
        what = f"expected a checkpoint of an unfinished run to resume in {partial}, found none"
        fix = "run without --resume"
    elif unfinished is not None and not resume and not overwrite:
        what = f"expected no unfinished run, found {unfinished.name} in {partial}"
        fix = "pass --resume to continue it, or --overwrite to start afresh"
    else:
        return
    raise TrainingDataError([Problem(shown(config.path), None, "output_dir", what, fix)])


def partial_dir(config: TrainingConfig) -> Path:
    """Where an unfinished run keeps its files: beside the output directory."""
    output = Path(os.path.abspath(config.output_dir))  # not resolved: a link is replaced, not what it points to
    return output.with_name(output.name + ".partial")


def last_checkpoint(config: TrainingConfig) -> Path | None:
    """The newest complete checkpoint of an unfinished run (trainer_state.json is what transformers writes last)."""
    found = [
        path
        for path in partial_dir(config).glob("checkpoints/checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit() and (path / "trainer_state.json").is_file()
    ]
    return max(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def make_fresh(config: TrainingConfig) -> None:
    """Remove what an unfinished run left, and make its directory anew."""
    discard(config)
    partial_dir(config).mkdir(parents=True)


def discard(config: TrainingConfig) -> None:
    """Remove what an unfinished run left, if anything."""
    if partial_dir(config).exists():
        shutil.rmtree(partial_dir(config))


def write_plan(config: TrainingConfig, manifest: Manifest) -> None:
    """Keep what the run is made from, so that only the same run can continue it."""
    (partial_dir(config) / _PLAN_NAME).mkdir(exist_ok=True)
    write_manifest(partial_dir(config) / _PLAN_NAME, manifest)


def planned_warnings(config: TrainingConfig) -> tuple[str, ...]:
    """What was warned of when the unfinished run began; () where there is none."""
    before = read_manifest(partial_dir(config) / _PLAN_NAME)
    return () if before is None else before.warnings


def require_same_plan(config: TrainingConfig, manifest: Manifest) -> None:
    """Raises TrainingDataError where base, rows, settings or libraries are not those of the unfinished run."""
    before = read_manifest(partial_dir(config) / _PLAN_NAME)
    old = {} if before is None else asdict(replace(before, warnings=()))
    new = json.loads(json.dumps(asdict(replace(manifest, warnings=()))))
    changed = [name for name in new if json.loads(json.dumps(old.get(name))) != new[name]]
    if changed:
        what = f"expected the run that was interrupted, found other {listed(changed)}"
        fix = "restore what it was started with, or pass --overwrite instead of --resume"
        raise TrainingDataError([Problem(shown(config.path), None, "", what, fix)])


def write_result(
    trainer: Any, config: TrainingConfig, base: Path, *, state: Mapping[str, Any], manifest: Manifest
) -> Manifest:
    """Everything of the finished adapter or model, not yet under its name; the manifest last, and returned."""
    result = partial_dir(config) / "result"
    if result.exists():  # of a run that was killed while it wrote
        shutil.rmtree(result)
    result.mkdir()
    if config.lora is None:
        _write_model(trainer.model, base, result, state)
    else:
        _write_adapter(trainer.model, config, result, state)
    for name in _tokenizer_files(base):
        shutil.copyfile(base / name, result / name)
    log = [entry for entry in trainer.state.log_history if "loss" in entry or "eval_loss" in entry]
    (result / LOG_NAME).write_text(json.dumps(log, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for weights in result.glob("*.safetensors"):  # which safetensors keeps from everyone else, whatever the umask
        shutil.copymode(result / LOG_NAME, weights)
    undrawn = draw(trainer, config, result)
    written = directory_digests(result, ("adapter_config.json", "config.json", "*.safetensors"))
    manifest = replace(manifest, weights=written, warnings=(*manifest.warnings, *undrawn))
    write_manifest(result, manifest)
    return manifest


def draw(trainer: Any, config: TrainingConfig, directory: Path) -> list[str]:
    """Save the curves so far in `directory`; what went wrong, as warnings."""
    title = f"{config.method} on {config.base.id}, seed {config.seed}"
    kept = trainer.state.best_global_step
    undrawn = save_plot(trainer.state.log_history, directory / PLOT_NAME, title=title, kept=kept)
    return [undrawn] if undrawn else []


def _write_adapter(model: Any, config: TrainingConfig, result: Path, state: Mapping[str, Any]) -> None:
    adapter = model.peft_config["default"]
    # peft would write this machine's path to the base. "auto" for the embeddings would ask the hub about it.
    adapter.base_model_name_or_path = _base_name(config)
    adapter.revision = config.base.revision
    model.save_pretrained(result, state_dict=state, save_embedding_layers=False)
    (result / "README.md").unlink(missing_ok=True)  # peft's empty model card
    _sort_lists(result / "adapter_config.json")


def _write_model(model: Any, base: Path, result: Path, state: Mapping[str, Any]) -> None:
    """All weights, in the base's own dtype, with the base's own config: training changes neither."""
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype or model.dtype
    # Tied weights are one tensor under two names and must stay one, or both would be written.
    converted = {weights.data_ptr(): weights.to(dtype) for weights in state.values()}
    model.save_pretrained(result, state_dict={name: converted[weights.data_ptr()] for name, weights in state.items()})
    for name in ("config.json", "generation_config.json"):
        (result / name).unlink(missing_ok=True)
        if (base / name).is_file():
            shutil.copyfile(base / name, result / name)


def _base_name(config: TrainingConfig) -> str:
    """The hub id, or the base's directory as seen from the adapter, which stays true when both are moved."""
    directory = config.base.directory
    return config.base.id if directory is None else relative_posix(directory, config.output_dir)


def _sort_lists(path: Path) -> None:
    """peft writes sets in hash order: sorted, the same run gives the same bytes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tokenizer_files(base: Path) -> list[str]:
    """The base's tokenizer and chat template, to be copied byte for byte: training changes neither."""
    own = ("config.json", "generation_config.json")
    names = [name for name in BASE_PATTERNS if "*" not in name and name not in own]
    return [name for name in names if (base / name).is_file()]


def publish(config: TrainingConfig) -> None:
    """Give the finished directory its name, in place of an older one if there is one."""
    partial, output_dir = partial_dir(config), config.output_dir
    if output_dir.exists():
        os.replace(output_dir, partial / "replaced")
    os.replace(partial / "result", output_dir)
    shutil.rmtree(partial)
