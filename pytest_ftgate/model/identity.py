"""Establishes what is judged: static checks of files, before torch or peft see them. Standard library only.

An adapter directory is untrusted input next to code, and peft falls back to the network for a path that does not
exist; so everything is resolved to existing local files first, and what cannot be judged is refused with the fix.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.digests import BASE_PATTERNS, directory_digests, is_named_by, matching_files
from pytest_ftgate.files.hashed_files import Hashed
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import listed
from pytest_ftgate.model.adapter import CONFIG as ADAPTER_CONFIG
from pytest_ftgate.model.adapter import WEIGHTS, AdapterFolder
from pytest_ftgate.model.base_digests import Memory, base_digests
from pytest_ftgate.model.folder import check_pointers, check_sizes, unneeded
from pytest_ftgate.model.manifest import Manifest, read_manifest
from pytest_ftgate.model.own_files import check_fits, check_own_files, is_adapter
from pytest_ftgate.model.safetensors_header import check_shards, read_headers

HUB_BASE = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[0-9a-f]{40})")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
ANSWERING = (*BASE_PATTERNS, "adapter_config.json")
"""Files of the candidate that decide what it answers."""


@dataclass(frozen=True)
class Candidate:
    """A fine-tuned model to judge, and the base to compare it with. All paths exist."""

    path: Path
    kind: Literal["adapter", "model", "base"]
    """`base`: no candidate at all; both paths are the base, which is only ever asked as the base."""
    base_path: Path
    manifest: Manifest | None
    """What it was trained on; None where the directory has no ftgate.json."""
    has_tokenizer: bool
    """Whether the directory brings a tokenizer (and chat template) of its own."""
    base_cache: Memory | None = None
    """Where digests of bases are remembered; None: read in full every time."""
    rehash: bool = False
    """Whether what is remembered does not count."""
    notes: tuple[str, ...] = ()
    """What is odd about its files and does not keep it from being judged, one printable sentence each."""
    named_base: str = ""
    """Another base than this one, which the adapter's own config names. Empty where it names this one, or none."""

    def read_base(self) -> dict[str, str]:
        """File name -> sha256 of the base directory, as it is now. Raises OSError."""
        return base_digests(self.base_path, self.base_cache, rehash=self.rehash)

    @cached_property
    def hashed_base(self) -> Hashed:
        """The base as it was when it was first asked for: what every digest of this object stands for."""
        return Hashed.read(self.base_path, BASE_PATTERNS, self.read_base)

    @cached_property
    def hashed_own(self) -> Hashed:
        """As `hashed_base`, of what decides the candidate's answers."""
        if self.kind == "base":  # the same files: not read twice
            return self.hashed_base
        return Hashed.read(self.path, ANSWERING, lambda: directory_digests(self.path, ANSWERING))

    @property
    def base_files(self) -> Mapping[str, str]:
        """File name -> sha256 of the base directory."""
        return self.hashed_base.digests

    @property
    def files(self) -> Mapping[str, str]:
        """File name -> sha256 of what decides the candidate's answers."""
        return self.hashed_own.digests

    def check_unchanged(self, *, while_loading: bool = False) -> None:
        """Candidate and base are still the files that were hashed; hashes what was not. Costs one stat a file.

        To be asked before a model is loaded (so that the digests are older), after it was, and before its answers are
        stored under a digest. `while_loading`: a file that only was there for a moment, or a folder that was moved,
        could have been loaded. Raises IdentityError.
        """
        try:
            sides = {"base": self.hashed_base, "candidate": self.hashed_own}
        except OSError as error:
            raise IdentityError(
                f"cannot read {self.base_path.name} or {self.path.name}: {error.strerror}",
                fix="check their files and permissions",
            ) from error
        for side, hashed in sides.items():
            if name := hashed.changed(folders=while_loading):
                raise IdentityError(
                    f"the files of the {side} changed while they were being used: {name}",
                    fix="run again when nothing writes there",
                )

    @property
    def base_revision(self) -> tuple[str, str | None]:
        """(hub id, commit) where the base lies in the hub cache, else (name of its directory, None)."""
        return _from_snapshot(self.base_path)

    @property
    def trained_form(self) -> str:
        """`nf4` where the record says that it was trained on a base in 4 bits, else `none`: the form to judge."""
        if self.manifest is None:
            return "none"
        in_4_bits = self.manifest.method == "qlora" or bool(self.manifest.hyperparameters.get("quantization"))
        return "nf4" if in_4_bits else "none"

    def digest(self, *, tuned: bool) -> str:
        """One sha256 for a side; the candidate's covers its base as well."""
        return side_digest(self.base_files, self.files if tuned else {})

    def describe(self) -> dict[str, Json]:
        """For the report: names and short digests."""
        return {
            "model": self.path.name,
            "kind": self.kind,
            "digest": self.digest(tuned=True),
            "base_model": self.manifest.base.id if self.manifest else self.base_path.name,
            "base_digest": self.digest(tuned=False),
            "training_known": self.manifest is not None,
        }


def _from_snapshot(base: Path) -> tuple[str, str | None]:
    snapshots = base.parent
    if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
        return snapshots.parent.name.removeprefix("models--").replace("--", "/"), base.name
    return base.name, None


def side_digest(base: Mapping[str, str], files: Mapping[str, str]) -> str:
    """sha256 over the digests of the base's files and of those of the candidate that decide ({}: the base alone)."""
    deciding = {name for name in files if is_named_by(name, ANSWERING)}
    tuned = {name: files[name] for name in deciding}
    return hashlib.sha256(json.dumps({"base": dict(base), "files": tuned}, sort_keys=True).encode()).hexdigest()


def resolve_candidate(
    model: str,
    base: str | None,
    directory: Path,
    *,
    prove_base: bool = True,
    base_cache: Memory | None = None,
    rehash: bool = False,
) -> Candidate:
    """The Candidate that `--ft-model` and `--ft-base` mean, relative to `directory`.

    Reads files, opens no socket; `prove_base` hashes the base where ftgate.json records one, which takes a minute for
    a large one, so whoever only collects leaves it to whoever loads. `base_cache`, `rehash`: as in Candidate. Raises
    IdentityError.
    """
    path = _resolved(directory, model, "--ft-model")
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise IdentityError(
            f"--ft-model={model} {what}; expected the directory of an adapter or a full model",
            fix=f"give an existing directory{_nearby(path)}",
        )
    kind = _kind(path, model)
    check_own_files(path)
    try:
        manifest = read_manifest(path)
    except InputError as error:
        raise IdentityError(str(error), fix="train again, or remove ftgate.json and give --ft-base") from None
    notes = [f"{listed(others, limit=4)} in {path.name}: no loader needs it" for others in [_unneeded(path)] if others]
    if manifest is not None and (missing := unrecorded(path, manifest)):
        notes.append(f"ftgate.json of {path.name} does not vouch for {listed(missing, limit=3)}: it counts as none")
        manifest = None
    base_path = _base_path(base, manifest, path, directory)
    named = ""
    if kind == "adapter":
        adapter = AdapterFolder(path)
        check_fits(adapter, read_headers(base_path), base_path)
        named = other_base(adapter, base_path, base) if manifest is None else ""
    if named:
        notes.append(f"adapter_config.json of {path.name} names another base ({named}) than {base_path.name}")
    has_tokenizer = any((path / name).is_file() for name in TOKENIZER_FILES)
    candidate = Candidate(
        path, kind, base_path, manifest, has_tokenizer, base_cache, rehash, notes=tuple(notes), named_base=named
    )
    if prove_base:
        check_recorded_files(candidate)
    return candidate


def _kind(path: Path, model: str) -> Literal["adapter", "model"]:
    if is_adapter(path):
        return "adapter"
    if (path / "config.json").is_file():
        return "model"
    check_pointers(path)
    if (path / WEIGHTS).is_file():
        raise IdentityError(f"{path.name} holds {WEIGHTS}, and no {ADAPTER_CONFIG}", fix="copy or download it again")
    inside = sorted(p.parent.name for p in path.glob("*/adapter_config.json"))
    fix = f"choose one of the adapters inside it: {', '.join(inside[:5])}" if inside else "check the path"
    raise IdentityError(
        f"--ft-model={model} holds neither adapter_config.json (an adapter) nor config.json (a full model)", fix=fix
    )


def _unneeded(path: Path) -> list[str]:
    return [visible(name, limit=80) for name in unneeded(path)]


def unrecorded(path: Path, manifest: Manifest) -> list[str]:
    """Files that make the candidate what it is and of which its record says nothing: such a record could be anyone's.

    Raises OSError.
    """
    deciding = matching_files(path, (ADAPTER_CONFIG if is_adapter(path) else "config.json", "*.safetensors"))
    return [name for name in deciding if name not in manifest.weights]


def other_base(adapter: AdapterFolder, base_path: Path, option: str | None) -> str:
    """The base that adapter_config.json names, printable, where it is not the given one by its name; else ""."""
    named = adapter.config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip("/. "):
        return ""
    hub = HUB_BASE.fullmatch(option) if option else None
    names = {hub["id"] if hub else base_path.name, _from_snapshot(base_path)[0]}
    last = PurePosixPath(named.replace("\\", "/")).name.casefold()
    same = any(last == PurePosixPath(name).name.casefold() for name in names)
    return "" if same else visible(named, limit=80)


def resolve_base(base: str, directory: Path) -> Candidate:
    """The base alone, from what --base names: a directory, or ORG/NAME@<revision>. Raises IdentityError."""
    path = _base_path(base, None, directory, directory, name="--base")
    return Candidate(path, "base", path, None, False)


def _resolved(directory: Path, name: str, option: str) -> Path:
    try:
        path = (directory / name).resolve()
        path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # a name that no file system takes; links in a circle
        raise IdentityError(f"{option}={name[:60]!r} cannot be a path", fix="give an existing directory") from error
    return path


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; {path.parent.name}/ does not exist either"
    names = sorted(p.name for p in path.parent.iterdir() if (p / "adapter_config.json").is_file())
    return f" (beside it: {', '.join(names[:5])}{', ...' if names[5:] else ''})" if names else ""


def _base_path(
    option: str | None, manifest: Manifest | None, path: Path, directory: Path, *, name: str = "--ft-base"
) -> Path:
    """The base directory, from --ft-base or from what the trainer recorded; never from adapter_config.json."""
    if option is None and manifest is None:
        raise IdentityError(
            f"which base was {path.name} trained on? It has no ftgate.json, and its other files are not trusted",
            fix="give --ft-base=DIRECTORY or --ft-base=ORG/NAME@<40-hex revision>",
        )
    if option is not None:
        if hub := HUB_BASE.fullmatch(option):
            return _from_hub_cache(hub["id"], hub["revision"])
        found = _resolved(directory, option, name)
        source = f"{name}={option}"
    elif manifest is not None and manifest.base.local is not None:
        found = (path / manifest.base.local).resolve()
        source = f"ftgate.json: base.local {manifest.base.local!r}"
    else:
        record = manifest.base if manifest else None
        return _from_hub_cache(record.id if record else "", (record.revision or "") if record else "")
    if not (found / "config.json").is_file():
        raise IdentityError(
            f"{source} is not a model directory (no config.json there)", fix=f"give the base with {name}=DIRECTORY"
        )
    if (found / "adapter_config.json").exists():
        # transformers would put that adapter on the base without a word.
        raise IdentityError(
            f"{source} holds an adapter (adapter_config.json) besides the base: the base would not be the base",
            fix="move the adapter out of that directory, or give the bare base with --ft-base=DIRECTORY",
        )
    check_pointers(found)
    check_shards(found)
    read_headers(found)
    check_sizes(found)
    return found


def _from_hub_cache(name: str, revision: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise IdentityError(
            "the base is a hub model, and huggingface_hub is not installed", fix='pip install "pytest-ftgate[hf]"'
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError, OSError) as error:
        raise IdentityError(
            f"base {name}@{revision[:12]} is not in the local hub cache",
            fix=f"download it once: hf download {name} --revision {revision}",
        ) from error


def _differing(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of recorded files that are missing or have another sha256."""
    return sorted(name for name, digest in recorded.items() if found.get(name) != digest)


def check_recorded_files(candidate: Candidate) -> None:
    """Base and candidate on disk are byte for byte those that ftgate.json records. Raises IdentityError."""
    manifest = candidate.manifest
    if manifest is None:
        return
    # Read anew each time: between the options and the load, the file may have been replaced.
    if differ := _differing(manifest.weights, directory_digests(candidate.path, manifest.weights)):
        raise IdentityError(
            f"{', '.join(differ[:4])} of {candidate.path.name} is not what ftgate.json describes: it was replaced or "
            "changed after the run, so what it was trained on is not known",
            fix="train again, or remove ftgate.json and name base and training files yourself (--ft-base, `train:`)",
        )

    recorded = manifest.base.files
    if differ := sorted(
        {*_differing(recorded, candidate.base_files), *(candidate.base_files.keys() - recorded.keys())}
    ):
        raise IdentityError(
            f"{candidate.path.name} was trained on another base: {', '.join(differ[:4])} of {candidate.base_path.name} "
            f"differ from what ftgate.json records ({manifest.base.id})",
            fix="give the base it was trained on with --ft-base, or train it again on this one",
        )
