"""The index of a model that is stored in shards: everything it leads to is among the files that were judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tinymodel import World, make_base

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.model.identity import resolve_candidate
from pytest_ftgate.model.safetensors_header import check_shards


def index(folder: Path, content: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def test_shards_beside_their_index(tmp_path: Path) -> None:
    index(tmp_path, {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "w.safetensors"}})
    for name in ("model-00001-of-00002.safetensors", "w.safetensors"):
        (tmp_path / name).touch()
    check_shards(tmp_path)


@pytest.mark.parametrize(
    "name", ["../w.safetensors", "sub/w.safetensors", "/w.safetensors", "sub\\w.safetensors", "w.bin", "", ".."]
)
def test_shards_elsewhere_are_in_no_digest(tmp_path: Path, name: str) -> None:
    index(tmp_path, {"weight_map": {"a": "model.safetensors", "b": name}})
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(IdentityError, match=r"leads to .* expected a safetensors file beside it"):
        check_shards(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": {}}}])
def test_an_index_without_names(tmp_path: Path, content: object) -> None:
    index(tmp_path, content)
    with pytest.raises(IdentityError, match="has no weight_map"):
        check_shards(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"weight_map": {}, "weight_map": {}}', "[" * 9999])
def test_an_index_that_two_readers_could_read_differently(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(IdentityError, match="cannot be read"):
        check_shards(tmp_path)


@pytest.mark.parametrize("side", ["full", "base"])
def test_a_model_whose_weights_lie_elsewhere(world: World, tmp_path: Path, side: str) -> None:
    """A receipt names the files in the candidate's directory; those elsewhere could be swapped after the verdict."""
    root = world.copy(tmp_path / "copy").root
    make_base(root / "full", seed=5)
    resolve_candidate("full", "base", root)
    shutil.move(root / side / "model.safetensors", root / "w.safetensors")
    index(root / side, {"weight_map": {"lm_head.weight": "../w.safetensors"}})
    with pytest.raises(IdentityError, match=rf"{side}/model.safetensors.index.json leads to '../w.safetensors'"):
        resolve_candidate("full", "base", root)
