"""Writes `ftgate.json`: paths relative to the adapter, digests of the base, versions of the libraries."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pytest_ftgate.files.digests import base_digests, text_sha256
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.model.manifest import MANIFEST_VERSION, BaseRecord, Manifest, TrainingFile, read_manifest
from training.config import TrainingConfig
from training.preflight import Checked

_LIBRARIES = (
    "pytest-ftgate",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "trl",
    "accelerate",
    "datasets",
    "safetensors",
)


def build_manifest(checked: Checked, *, hyperparameters: Mapping[str, Json], warnings: tuple[str, ...]) -> Manifest:
    """The record of one run. Reads the base's files to digest them. Raises OSError; TrainingDataError
    where the base's own record cannot be read."""
    config = checked.config
    here = config.output_dir
    template = checked.tokenizer.chat_template and checked.tokenizer.get_chat_template()
    own = [TrainingFile(relative_posix(file.path, here), file.sha256, file.rows) for file in checked.mix.files]
    local = None if config.base.directory is None else relative_posix(config.base.directory, here)
    return Manifest(
        version=MANIFEST_VERSION,
        base=BaseRecord(config.base.id, local, config.base.revision, base_digests(checked.base)),
        training=tuple(dict.fromkeys([*own, *_inherited(config, here)])),
        chat_template_sha256=None if template is None else text_sha256(template),
        seed=config.seed,
        method=config.method,
        hyperparameters=hyperparameters,
        versions=_versions(in_4_bits=config.quantization is not None),
        warnings=warnings,
    )


def _inherited(config: TrainingConfig, here: Path) -> list[TrainingFile]:
    """What we trained the base on: an eval example that it has seen, the candidate has seen too.

    The base's record holds that of its own base already. (A teacher's does not count: of what it saw, a student sees
    its answers alone, and they are training rows.)
    """
    directory = config.base.directory
    before = None if directory is None else read_manifest(directory)
    if directory is None or before is None:
        return []
    return [replace(file, path=relative_posix(directory / file.path, here)) for file in before.training]


def relative_posix(path: Path, directory: Path) -> str:
    """`path` as seen from `directory` (which need not exist, and is replaced where it is a link), with `/`."""
    here = directory.parent.resolve() / directory.name
    return Path(os.path.relpath(path.resolve(), here)).as_posix()


def _versions(*, in_4_bits: bool) -> dict[str, str]:
    names = (*_LIBRARIES, "bitsandbytes") if in_4_bits else _LIBRARIES
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
