"""Eval sets at a git ref: their gates, which still count, and what else of them this change has touched."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_ftgate.evalset.builtin import is_builtin
from pytest_ftgate.evalset.discovery import EvalSetFile, matches_norecurse
from pytest_ftgate.evalset.loader import EVALSET_SUFFIX, EvalSetHeader, load_evalset, read_header
from pytest_ftgate.evalset.types import EvalSet, Rung
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictyaml import read_yaml
from pytest_ftgate.files.wording import listed
from pytest_ftgate.trust.policy.gitref import Tree


@dataclass(frozen=True, slots=True)
class FormerEvalSet:
    """An eval-set file as the ref holds it, written out beside the files that it names."""

    name: str
    """POSIX path in the repository."""
    path: Path
    """Where it was written out."""
    header: EvalSetHeader


def former_evalsets(
    tree: Tree, args: Sequence[Path], always: Sequence[Path], norecursedirs: Sequence[str], into: Path
) -> tuple[list[FormerEvalSet], list[str]]:
    """Eval sets of the ref under the paths that pytest was given, and those of `always`; and what cannot be read.

    Everything that they name is written into the directory `into`. Raises PolicyError.
    """
    folders = [name for arg in args if (name := tree.name(arg)) is not None]
    wanted = {name for folder in folders for name in _under(tree, folder, norecursedirs)}
    wanted |= {name for path in always if (name := tree.name(path)) is not None}
    found, unread = [], []
    for name in sorted(wanted):
        path = _write_out(tree, name, into)
        if path is None:
            continue
        try:
            header = read_header(path)
        except InputError as error:
            unread.append(f"{name} at {tree.ref} cannot be read, so its gates are not known ({error.problems[0].what})")
            continue
        _write_out_named(tree, name, path, into)
        found.append(FormerEvalSet(name, path, header))
    return found, unread


def _under(tree: Tree, arg: str, norecursedirs: Sequence[str]) -> Iterator[str]:
    """As `required.files_on_disk`: all below a directory; of a file, all in its directory."""
    flat = arg.endswith(EVALSET_SUFFIX)
    top = posixpath.dirname(arg) if flat else "" if arg == "." else arg
    for name in tree.blobs:
        inside = posixpath.relpath(name, top or ".")
        if not name.endswith(EVALSET_SUFFIX) or inside.startswith("../"):
            continue
        folders = inside.split("/")[:-1]
        skipped = any(
            folder == "__pycache__" or matches_norecurse(tree.top / top / "/".join(folders[: i + 1]), norecursedirs)
            for i, folder in enumerate(folders)
        )
        if not skipped and not (flat and folders):
            yield name


def _write_out(tree: Tree, name: str, into: Path) -> Path | None:
    """A file of the ref at its own relative place below `into`; None where the ref has none."""
    data = None if name.startswith("../") or posixpath.isabs(name) else tree.read(name)
    if data is None:
        return None
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _write_out_named(tree: Tree, name: str, path: Path, into: Path) -> None:
    data = read_yaml(path).data
    for file in named_files(data):
        _write_out(tree, posixpath.normpath(posixpath.join(posixpath.dirname(name), file)), into)
    for file in data["gates"].get("overlap", {}).get("train", []):
        # The loader asks only whether training files are there.
        there = into / posixpath.normpath(posixpath.join(posixpath.dirname(name), file))
        if there.is_relative_to(into) and ".." not in there.parts:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()


def named_files(data: Mapping[str, Json]) -> list[str]:
    """Files that an eval set's YAML names, relative to it: examples, shots, passages, schema, its scorer's module."""
    source = data["examples"]
    found = [source] if isinstance(source, str) and not is_builtin(source) else []
    for rung in data.get("baselines", {}).values():
        found += [rung[key]["from"] for key in ("shots", "passages") if key in rung]
    if "json_schema" in data["gates"].get("format", {}):
        found.append(data["gates"]["format"]["json_schema"])
    return [*found, *_scorer_files(data.get("scorer"))]


def _scorer_files(scorer: Json) -> list[str]:
    function = scorer.get("function") if isinstance(scorer, dict) else scorer
    if not isinstance(function, str) or ":" not in function:
        return []
    module = function.partition(":")[0].replace(".", "/")
    return [f"{module}.py", f"{module}/__init__.py"]


def content_changes(tree: Tree, former: FormerEvalSet, here: EvalSetFile) -> list[str]:
    """What of an eval set's content differs from the ref, one sentence each; gates are told elsewhere."""
    name = here.name
    said = _code_changes(tree, former, here)
    try:
        now = load_evalset(here.path)
    except InputError:
        return said  # told where it is collected
    try:
        before = load_evalset(former.path)
    except InputError as error:
        return [*said, f"{name}: its examples at {tree.ref} cannot be compared ({error.problems[0].what})"]
    return [*said, *(f"{name}: {change}" for change in differences(before, now))]


def differences(before: EvalSet, now: EvalSet) -> list[str]:
    """Examples removed, added and changed; scorer, generation settings, prompt, slices, rigor and rungs."""
    old, new = ({example.id: example for example in each.examples} for each in (before, now))
    counts = {
        "removed": len(old.keys() - new.keys()),
        "added": len(new.keys() - old.keys()),
        "changed": sum(
            (old[i].fields, old[i].target, old[i].cluster) != (new[i].fields, new[i].target, new[i].cluster)
            for i in old.keys() & new.keys()
        ),
    }
    said = [f"{count} example{'s' * (count > 1)} {what}" for what, count in counts.items() if count]
    changes = [listed(said)] if said else []
    for part, a, b in (
        ("scorer", before.scorer, now.scorer),
        ("generation settings", before.generation, now.generation),
        ("prompt", before.prompt, now.prompt),
        ("slices", *([(one.field, dict(one.bounds)) for one in each.slices] for each in (before, now))),
        ("rigor", before.rigor, now.rigor),
    ):
        if a != b:
            changes.append(f"{part} changed")
    rungs, kept = ({rung.name: _rung(rung) for rung in each.baselines} for each in (before, now))
    changes += [f"rung {rung} of the baselines removed" for rung in rungs if rung not in kept]
    changes += [f"rung {rung} of the baselines added" for rung in kept if rung not in rungs]
    changes += [f"rung {rung} of the baselines changed" for rung in rungs if rung in kept and rungs[rung] != kept[rung]]
    return changes


def _rung(rung: Rung) -> Json:
    """A rung without the places that its shots come from."""
    content = asdict(rung)
    for shot in (content["shots"] or {}).get("examples", ()):
        del shot["path"], shot["line"]
    return content


def _code_changes(tree: Tree, former: FormerEvalSet, here: EvalSetFile) -> list[str]:
    """The format gate's schema and the scorer's module, byte for byte."""
    data = read_yaml(former.path).data
    names = _scorer_files(data.get("scorer"))
    if "json_schema" in data["gates"].get("format", {}):
        names.append(data["gates"]["format"]["json_schema"])
    said = []
    for file in names:
        before = tree.read(posixpath.normpath(posixpath.join(posixpath.dirname(former.name), file)))
        try:
            now = (here.path.parent / file).read_bytes()
        except OSError:
            now = None
        if before is not None and before != now:
            said.append(f"{here.name}: {posixpath.basename(file)} {'changed' if now is not None else 'removed'}")
    return said
