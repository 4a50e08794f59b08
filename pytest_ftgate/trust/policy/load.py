"""The policy in force: ftgate.toml here, and with --ft-policy-ref the stricter of it and what the ref holds."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.evalset.discovery import EvalSetFile
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.wording import shown
from pytest_ftgate.trust.policy.compare import FormerEvalSet, content_changes, former_evalsets
from pytest_ftgate.trust.policy.enforce import overruled
from pytest_ftgate.trust.policy.file import POLICY_NAME, find_policy, load_policy, parse_policy
from pytest_ftgate.trust.policy.gitref import Tree, open_tree
from pytest_ftgate.trust.policy.merge import gate_changes, policy_changes, policy_digest, stricter_policy, tightened
from pytest_ftgate.trust.policy.refconfig import where_pytest_looks
from pytest_ftgate.trust.policy.types import Policy, PolicyInForce


@dataclass(frozen=True, slots=True)
class Where:
    """What pytest was started with, as far as it decides which policy counts."""

    option: str | None
    """--ft-policy"""
    ref: str | None
    """--ft-policy-ref"""
    directory: Path
    """Where pytest was started."""
    root: Path
    """pytest's root directory."""
    args: Sequence[str]
    """Paths and node ids that it was given."""
    args_given: bool
    """Whether these were written on the command line; else they come from a configuration that a change can edit."""


def load_in_force(where: Where, files: Sequence[EvalSetFile], *, compare: bool) -> PolicyInForce:
    """The policy that the run is held to.

    `compare`: also say what this change has done to the eval sets' contents, which reads all examples of both.
    Raises InputError (the file is not a policy) and PolicyError (two policies, a ref that cannot be read, an eval set
    that the policy names and that is not there).
    """
    path = find_policy(where.option, where.directory, where.root)
    here = load_policy(path) if path is not None else Policy()
    written = [(gate_name(file.name, gate.kind), gate) for file in files for gate in file.gates]
    if where.ref is None:
        _check_named(here)
        in_force = PolicyInForce(here, _uri(path, where.root), policy_digest(here, written, where.root))
    else:
        in_force = _with_ref(where, path, here, files, written, compare=compare)
    return _noted(in_force, written)


def _check_named(policy: Policy) -> None:
    missing = [shown(path) for path in sorted(policy.evalsets) if not path.is_file()]
    if missing:
        raise PolicyError(
            f"the policy's evalsets name {missing[0]}, and there is no such file",
            fix="put it back, or correct `evalsets` in the policy (where a ref's policy names it, land that first)",
        )


def _uri(path: Path | None, root: Path) -> str:
    if path is None:
        return "pytest-ftgate:defaults"
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _with_ref(
    where: Where,
    path: Path | None,
    here: Policy,
    files: Sequence[EvalSetFile],
    written: list[tuple[str, GateSpec]],
    *,
    compare: bool,
) -> PolicyInForce:
    tree = open_tree(where.ref or "", where.root)
    there, name = _policy_at(tree, where, path)
    policy = stricter_policy(there, here)
    _check_named(policy)
    args, norecursedirs = where_pytest_looks(tree, where.directory.resolve())
    if where.args_given:
        args = [(where.directory / arg.split("::", 1)[0]).resolve() for arg in where.args]
    with tempfile.TemporaryDirectory(prefix="ftgate-ref-") as folder:
        always = sorted(policy.evalsets)
        former, changes = former_evalsets(tree, args, always, norecursedirs, Path(folder).resolve())
        gates = {gate_name(each.header.name, gate.kind): gate for each in former for gate in each.header.gates}
        digest = policy_digest(policy, [*written, *gates.items()], where.root)
        uri = f"git:{where.ref}@{tree.commit[:12]}#{name}" if name else f"git:{where.ref}@{tree.commit[:12]}"
        in_force = PolicyInForce(policy, uri, digest, tree.ref, gates, _deleted(gates, written))
        changes = [*policy_changes(there, here, policy, where.root), *changes, *_gate_changes(in_force, former, files)]
        if compare:
            changes += _contents(tree, former, files)
    return replace(in_force, changes=tuple(changes))


def _policy_at(tree: Tree, where: Where, path: Path | None) -> tuple[Policy, str]:
    """The ref's policy and its name: the file of the same name, and the one that would be found there unasked."""
    names = [tree.name(path)] if path is not None else []
    names += [_nearest(tree, start) for start in (where.directory.resolve(), where.root.resolve())]
    if odd := [name for name in names if name in tree.others]:
        raise PolicyError(
            f"{odd[0]} at {tree.ref} is no regular file (a link, a directory or a submodule)", fix="correct it there"
        )
    found = [name for name in dict.fromkeys(names) if name is not None and name in tree.blobs]
    policy = Policy()
    for name in found:
        data = tree.read(name) or b""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PolicyError(f"{name} at {tree.ref} is not UTF-8 text", fix="correct it there") from None
        read = parse_policy(text, name=f"{tree.ref}:{name}", directory=(tree.top / name).parent)
        policy = read if name == found[0] else stricter_policy(policy, read)
    return policy, found[0] if found else ""


def _nearest(tree: Tree, start: Path) -> str | None:
    folder = tree.name(start)
    while folder is not None:
        name = posixpath.normpath(posixpath.join(folder, POLICY_NAME))
        if name in tree.blobs or name in tree.others:
            return name
        folder = posixpath.dirname(folder) if folder not in ("", ".") else None
    return None


def _deleted(gates: Iterable[str], written: Sequence[tuple[str, GateSpec]]) -> tuple[str, ...]:
    """Gates of the ref that no file here has: the file is gone, or was renamed, or lost the gate."""
    here = {name for name, _ in written}
    return tuple(name for name in gates if name not in here)


def _gate_changes(in_force: PolicyInForce, former: Sequence[FormerEvalSet], files: Sequence[EvalSetFile]) -> list[str]:
    known = {file.name for file in files}
    said = [f"{each.header.name} ({each.name}) was deleted" for each in former if each.header.name not in known]
    before = {each.header.name for each in former}
    for file in files:
        if file.name not in before:
            said.append(f"{file.name} is new")
            continue
        for gate in file.gates:
            name = gate_name(file.name, gate.kind)
            former_gate = in_force.gates.get(name)
            if former_gate is None:
                said.append(f"{name} is new")
            else:
                said += gate_changes(file.name, former_gate, gate, tightened(gate, name, in_force, None))
        kinds = {gate.kind for gate in file.gates}
        gone = [name for name in in_force.deleted if name.rpartition("::")[0] == file.name]
        said += [f"{name} was deleted" for name in gone if name.rpartition("::")[2] not in kinds]
    return said


def _contents(tree: Tree, former: Sequence[FormerEvalSet], files: Sequence[EvalSetFile]) -> list[str]:
    by_name = {each.header.name: each for each in former}
    return [
        change for file in files if file.name in by_name for change in content_changes(tree, by_name[file.name], file)
    ]


def _noted(in_force: PolicyInForce, written: Sequence[tuple[str, GateSpec]]) -> PolicyInForce:
    notes = [
        f"{name}: {said}" for name, gate in written if (said := overruled(gate, tightened(gate, name, in_force, None)))
    ]
    return replace(in_force, notes=tuple(notes))
