from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.files.digests import base_digests, directory_digests, file_sha256, path_sha256, text_sha256
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model import manifest as manifests
from pytest_ftgate.model.manifest import BaseRecord, Manifest, TrainingFile, read_manifest, write_manifest

SHA = "ab" * 32
GOOD = Manifest(
    version=1,
    base=BaseRecord(id="../base", local="../../base", revision=None, files={"config.json": SHA}),
    training=(TrainingFile(path="../../train.jsonl", sha256=SHA, rows=3),),
    chat_template_sha256=None,
    seed=7,
    method="lora",
    hyperparameters={"sft": {"learning_rate": 1e-3}, "lora": {"r": 8}},
    versions={"torch": "2.13.0"},
    warnings=("few rows",),
)


def problems_of(directory: Path) -> list[str]:
    with pytest.raises(TrainingDataError) as caught:
        read_manifest(directory)
    return [str(problem) for problem in caught.value.problems]


def write_raw(directory: Path, change: dict[str, object]) -> None:
    write_manifest(directory, GOOD)
    path = directory / "ftgate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, GOOD)
    assert path == tmp_path / "ftgate.json"
    assert read_manifest(tmp_path) == GOOD
    assert [p.name for p in tmp_path.iterdir()] == ["ftgate.json"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    hyperparameters=st.dictionaries(st.text("abc"), json_values),
    warnings=st.lists(st.text(st.characters(codec="utf-8"))),
)
def test_any_content_survives(
    tmp_path_factory: pytest.TempPathFactory, hyperparameters: dict[str, object], warnings: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("manifest")
    manifest = replace(GOOD, hyperparameters=hyperparameters, warnings=tuple(warnings))
    write_manifest(directory, manifest)
    assert read_manifest(directory) == manifest


def test_the_same_manifest_is_the_same_bytes(tmp_path: Path) -> None:
    first = write_manifest(tmp_path, GOOD).read_bytes()
    turned = replace(GOOD, hyperparameters=dict(reversed(GOOD.hyperparameters.items())))
    assert write_manifest(tmp_path, turned).read_bytes() == first
    assert first.endswith(b"}\n")


def test_an_absent_manifest_is_not_an_error(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(tmp_path, GOOD)

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_manifest(tmp_path, replace(GOOD, seed=8))
    assert read_manifest(tmp_path) == GOOD


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_manifest(tmp_path, replace(GOOD, hyperparameters={"lr": float("nan")}))
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": True}, "seed: expected a whole number >= 0, found true"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"method": ""}, "method: expected text"),
        ({"surprise": 1}, "surprise: expected one of version, base"),
        ({"chat_template_sha256": "AB" * 32}, "chat_template_sha256: expected 64 lower-case hex digits"),
        ({"training": {}}, "training: expected a list"),
        ({"training": [{"path": "/etc/passwd", "sha256": SHA, "rows": 1}]}, "training[0].path: expected a POSIX path"),
        ({"training": [{"path": "a", "sha256": SHA}]}, "training[0].rows: expected, not found"),
        ({"base": {"id": "x", "local": None, "revision": "main", "files": {}}}, "base.revision: expected 40"),
        ({"base": {"id": "x", "local": None, "revision": None, "files": {"a": 1}}}, "base.files.a: expected 64"),
        ({"base": None}, "base: expected an object with id, local, revision, files"),
        ({"versions": {"torch": 2}}, "versions: expected an object of strings"),
        ({"warnings": "none"}, "warnings: expected a list of strings"),
        ({"hyperparameters": []}, "hyperparameters: expected an object"),
        ({"version": 2}, "version: expected 1, found the number 2"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    write_raw(tmp_path, change)
    found = problems_of(tmp_path)
    assert len(found) == 1
    assert expected in found[0]
    assert "ftgate.json" in found[0]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    write_raw(tmp_path, {"seed": None, "method": 3, "warnings": [1]})
    assert len(problems_of(tmp_path)) == 3


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"version": 1, "version": 1}', '{"version": NaN}', "[" * 100_000])
def test_broken_json_is_one_clear_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "ftgate.json").write_text(text)
    assert all("ftgate.json" in problem for problem in problems_of(tmp_path))


def test_file_text_reaches_messages_only_in_short(tmp_path: Path) -> None:
    write_raw(tmp_path, {"method": ["\x1b[2J" * 1000]})
    (found,) = problems_of(tmp_path)
    assert len(found) < 300
    assert "\x1b" not in found


def test_digests_are_sha256(tmp_path: Path) -> None:
    data = os.urandom(3 * 2**20 + 17)
    (tmp_path / "model.safetensors").write_bytes(data)
    assert file_sha256(tmp_path / "model.safetensors") == hashlib.sha256(data).hexdigest()
    assert text_sha256("é") == hashlib.sha256("é".encode()).hexdigest()


def test_base_digests_cover_what_decides_the_answers(tmp_path: Path) -> None:
    wanted = ["chat_template.jinja", "config.json", "generation_config.json", "model-00001-of-00002.safetensors"]
    wanted += ["model.safetensors.index.json", "tokenizer.json"]
    for name in [*wanted, "README.md", "training_args.bin", "optimizer.pt"]:
        (tmp_path / name).write_text(name)
    (tmp_path / "config.json.d").mkdir()
    assert base_digests(tmp_path) == {name: text_sha256(name) for name in wanted}


def test_a_template_in_the_folder_of_templates_counts(tmp_path: Path) -> None:
    """transformers lets additional_chat_templates/default.jinja replace chat_template.jinja."""
    for name in ("config.json", "additional_chat_templates/default.jinja", "additional_chat_templates/x/y.jinja"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "default.jinja").write_text("no loader looks here")
    assert base_digests(tmp_path).keys() == {"config.json", "additional_chat_templates/default.jinja"}


def test_links_are_followed_as_in_the_hub_cache(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blob")
    assert directory_digests(tmp_path, ["*.safetensors"]) == {"model.safetensors": text_sha256("weights")}


def test_a_directory_has_one_digest(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.arrow").write_text("x")
    (tmp_path / "a.json").write_text("a")
    listing = f"{text_sha256('a')}  a.json\n{text_sha256('x')}  b/x.arrow\n"
    assert path_sha256(tmp_path) == text_sha256(listing)
    (tmp_path / "b" / "x.arrow").rename(tmp_path / "b" / "y.arrow")
    assert path_sha256(tmp_path) != text_sha256(listing)


def test_reading_needs_only_the_standard_library() -> None:
    import subprocess
    import sys

    code = "import sys, pytest_ftgate.model.manifest, pytest_ftgate.files.digests\n"
    code += "print({'torch', 'yaml', 'numpy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
    assert manifests.MANIFEST_NAME == "ftgate.json"
