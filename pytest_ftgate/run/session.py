"""What one pytest process knows about the run: candidate, levels, stage, verdicts. Knows no pytest."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ftgate.answers.engine.protocol import Engine
from pytest_ftgate.answers.engine.registry import EngineSettings, check_engine, make_engine
from pytest_ftgate.answers.stage import CacheMode
from pytest_ftgate.errors import FtgateError, Unusable
from pytest_ftgate.evalset.discovery import EvalSetFile, files_on_disk, read_files
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.loader import load_evalset, read_header
from pytest_ftgate.evalset.subset import Subset, subset_of
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.own_key import own_key
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.decision import EXIT_CODES
from pytest_ftgate.model.base_digests import CACHE_FILE, Memory
from pytest_ftgate.model.identity import Candidate, check_recorded_files, resolve_candidate
from pytest_ftgate.run.inifile import check_rootdir
from pytest_ftgate.run.late import Late
from pytest_ftgate.run.looks import check_looks
from pytest_ftgate.run.misnamed import misnamed
from pytest_ftgate.run.outputs import clear_outputs, outputs_of, receipt_settings
from pytest_ftgate.run.stored import STORE, cache_mode, check_begins_ledger, refuse_committed_answers
from pytest_ftgate.trust.attempts.counting import Attempt, count_attempt, draft_entry
from pytest_ftgate.trust.attempts.ledger import read_ledger
from pytest_ftgate.trust.attempts.shared_attempt import shared_attempt
from pytest_ftgate.trust.policy.enforce import check_base
from pytest_ftgate.trust.policy.load import Where, load_in_force
from pytest_ftgate.trust.policy.merge import tightened
from pytest_ftgate.trust.policy.types import PolicyInForce
from pytest_ftgate.trust.receipt.writing import ReceiptSettings

if TYPE_CHECKING:
    from pytest_ftgate.gates import preconditions
else:
    preconditions = Late("pytest_ftgate.gates.preconditions")


@dataclass(frozen=True, slots=True)
class Session:
    """One run's settings, the same in every process of it."""

    candidate: Candidate
    required: tuple[EvalSetFile, ...]
    """Eval-set files on disk under the paths given, whatever was selected; () where they cannot be read."""
    policy: PolicyInForce
    """What the run is held to."""
    verdict_required: bool
    verdict_off: bool
    cache: CacheMode
    cache_mib: int
    """Most that stored generations may take up, in MiB, but for those that this run used."""
    root: Path
    """pytest's root directory: node ids start there."""
    engine: str
    """As --ft-engine names it."""
    device: str
    dtype: str
    quantize: str
    batch_size: int
    outputs: Mapping[str, Path]
    """Name of a sink -> the file that it was asked to write."""
    receipt: ReceiptSettings | None
    """The receipt that was asked for; None without --ft-receipt, and in workers."""
    corroborate: bool
    all_answers: bool
    judge_hopeless: bool
    subset: Subset
    """Which examples are asked."""
    collect_only: bool
    command: str
    """How the run was started, for the report."""
    store_key: bytes | None = field(default=None, repr=False)
    """Authenticates stored generations; None: none are used."""
    begins_ledger: bool = False
    """Whether the user said that there were no attempts before."""
    notes: tuple[str, ...] = ()
    """What is odd about the files, for header and summary."""
    policy_changed: bool = False
    """Whether this process read another policy, or other gates, than the one that decides."""

    @property
    def judges(self) -> bool:
        """Whether a run verdict may come out of it."""
        return not (self.verdict_off or self.collect_only)

    def header(self) -> str:
        """The line in pytest's header."""
        mode = "required" if self.verdict_required else "off" if self.verdict_off else "for information"
        kind = "adapter" if self.candidate.kind == "adapter" else "full model"
        line = f"ftgate: {kind} {self.candidate.path.name} on base {self.candidate.base_path.name}; verdict: {mode}"
        return "\n".join([line, *(f"ftgate: {note}" for note in self.notes)])

    @property
    def kept_sentence(self) -> str:
        """What is left of a run that was interrupted."""
        whose = {"all": "answers", "base": "answers of the base", "off": ""}[self.cache]
        kept = f"{whose} made so far are in {STORE}, and the same command goes on from there"
        return f"interrupted, no verdict: {kept if whose else 'no answer was kept (--ft-cache=off, or no key)'}"

    def make_engine(self) -> Engine:
        """The engine that --ft-engine names; nothing is loaded yet. Raises EngineError."""
        settings = EngineSettings(self.device, self.dtype, self.quantize, self.batch_size)
        return make_engine(self.engine, self.candidate, settings, directory=self.root)

    def attempt(self, evalset: EvalSet, shared: Path) -> Attempt:
        """Which attempt this run is on the examples of an eval set: the first process that asks counts, all agree."""

        def compute() -> Attempt:
            candidate, form = self.candidate.digest(tuned=True), (self.dtype, self.quantize)
            draft = draft_entry(self.held(evalset), candidate=candidate, form=form, alpha=self.alpha)
            ledger = read_ledger(self.root)
            ledger = replace(ledger, declared=ledger.declared or self.begins_ledger)
            return count_attempt(draft, ledger, beside=self.evalset_names, alpha=self.alpha)

        return shared_attempt(shared, evalset.name, compute)

    @property
    def evalset_names(self) -> tuple[str, ...]:
        """Names of all eval sets that this run must judge."""
        return tuple(file.name for file in self.required)

    @property
    def alpha(self) -> float:
        """Level of a gate, before attempts share it."""
        return self.policy.policy.alpha

    def held(self, evalset: EvalSet) -> EvalSet:
        """The eval set with the bounds that the policy tightens."""
        names = ((gate, gate_name(evalset.name, gate.kind)) for gate in evalset.gates)
        gates = tuple(tightened(gate, name, self.policy, len(evalset.examples)) for gate, name in names)
        return replace(evalset, gates=gates)


VERDICT_PROPERTY = "ftgate.verdict"
STAGE_PROPERTY = "ftgate.stage"
EVALSET_PROPERTY = "ftgate.evalset"
INTERNAL = (VERDICT_PROPERTY, STAGE_PROPERTY, EVALSET_PROPERTY)


def open_session(
    option: Any,
    *,
    args: Sequence[str],
    written: Sequence[str | os.PathLike[str]],
    directory: Path,
    root: Path,
    inifile: Path | None,
    norecursedirs: Sequence[str],
    distributed: bool = False,
    in_worker: bool = False,
    policy_digest: str | None = None,
) -> Session:
    """Check the `--ft-...` options (attributes of `option`, as argparse names them). Raises Unusable.

    `distributed`: this process is the controller of workers, which are going to collect; `in_worker`: it is one, and
    `policy_digest` is what the controller's policy has.
    """
    if not in_worker:  # before anything can go wrong: an old verdict must not be read as this run's
        clear_outputs(option, directory)
    if option.ft_model is None:
        raise Unusable("a verdict was asked for, and no model to judge. Fix: add --ft-model=DIR")
    check_rootdir([str(w) for w in written], directory, inifile)
    check_engine(option.ft_engine, directory=root)
    if option.ft_begin_ledger and not in_worker:
        check_begins_ledger(root, [str(w) for w in written])
    verdict_required = is_verdict_required(option)
    required = _required(args, directory, norecursedirs, full=distributed and not option.collectonly)
    subset = subset_of(option.ft_limit, option.ft_case, [file.path for file in required], check=not in_worker)
    if not (in_worker or option.collectonly):
        paths = [file.path for file in required]
        check_looks(subset, paths, spend=option.ft_spend_attempt, written=[str(w) for w in written])
    given = {*args} <= {str(w) for w in written}
    where = Where(option.ft_policy, option.ft_policy_ref, directory, root.resolve(), args, given)
    prove = not (option.collectonly or in_worker)
    key = own_key(root)
    if prove:
        refuse_committed_answers(root)
    try:
        candidate = resolve_candidate(
            option.ft_model,
            option.ft_base,
            directory,
            prove_base=False,
            base_cache=Memory(root / CACHE_FILE, key.secret) if key.secret else None,
            rehash=option.ft_rehash,
        )
        if root in (candidate.path, candidate.base_path):  # before its folder is looked at: it must not change later
            with contextlib.suppress(OSError):
                (root / CACHE_FILE).parent.mkdir(mode=0o700, exist_ok=True)
        policy = load_in_force(where, required, compare=prove)
        if prove:
            check_recorded_files(candidate)
            check_base(policy.policy, candidate, option.ft_base)
    except (FtgateError, InputError) as error:
        raise Unusable(str(error)) from None
    cache, notes = cache_mode(option.ft_cache, policy.policy.cache, key, verdict_required=verdict_required)
    receipt = None if in_worker else receipt_settings(option, directory, candidate.path, candidate.base_path)
    return Session(
        candidate=candidate,
        required=required,
        policy=policy,
        policy_changed=policy_digest not in (None, policy.digest),
        verdict_required=verdict_required,
        verdict_off=option.ft_verdict == "off",
        cache=cache,
        store_key=key.secret,
        begins_ledger=option.ft_begin_ledger,
        cache_mib=option.ft_cache_mib,
        root=root,
        engine=option.ft_engine,
        device=option.ft_device,
        dtype=option.ft_dtype,
        quantize=option.ft_quantize,
        batch_size=option.ft_batch_size,
        outputs=outputs_of(option, directory),
        receipt=receipt,
        corroborate=option.ft_corroborate,
        all_answers=option.ft_all_answers or subset.is_part,
        judge_hopeless=option.ft_judge_hopeless or subset.is_part,
        subset=subset,
        collect_only=option.collectonly,
        command=shlex.join(["pytest", *(str(w) for w in written)]),
        notes=(*misnamed(args, directory, norecursedirs, verdict_required=verdict_required), *notes),
    )


def is_verdict_required(option: Any) -> bool:
    """Whether only SHIP may end with 0."""
    wanted = bool(os.environ.get("CI") or option.ft_receipt)
    return option.ft_verdict == "require" or (option.ft_verdict == "auto" and wanted)


def status_without_session(option: Any, status: int) -> int:
    """What a run returns that asked for a verdict and was ended before the plugin was set up."""
    return EXIT_CODES["NOT_EVALUATED"] if is_verdict_required(option) else status


def load_for_collection(path: Path, session: Session | None) -> tuple[EvalSet | None, tuple[GateSpec, ...]]:
    """The gates of a file, and its examples too where it is going to be judged. Raises EvalSetError.

    No gates where none of its examples is asked.
    """
    if session is None or session.collect_only:
        return None, read_header(path).gates
    evalset = _load_usable(path)
    return evalset, evalset.gates if session.subset.of(evalset).examples else ()


def _load_usable(path: Path) -> EvalSet:
    evalset = load_evalset(path)
    preconditions.check_usable(evalset)
    return evalset


def _required(
    args: Sequence[str], directory: Path, norecursedirs: Sequence[str], *, full: bool
) -> tuple[EvalSetFile, ...]:
    try:
        paths = files_on_disk(args, directory, norecursedirs)
    except InputError as error:
        raise Unusable(str(error)) from None
    # Workers go on with the other files where one cannot be collected: the model would be loaded for nothing.
    if full and (problems := _all_problems(paths)):
        raise Unusable("\n".join(problems))
    try:
        files = read_files(paths)
    except InputError as error:
        # Also one beside the file that was asked for: without it, it is not known what must be judged.
        raise Unusable("\n".join(_all_problems(paths)) or str(error)) from None
    seen: dict[str, Path] = {}
    for file in files:
        if file.name in seen:
            raise Unusable(
                f"two eval sets are called {file.name!r}: {seen[file.name]} and {file.path}. Fix: give one of them "
                "another `name:`"
            )
        seen[file.name] = file.path
    return tuple(files)


def _all_problems(paths: Sequence[Path]) -> list[str]:
    """Everything that is wrong with any of the files, so that one run tells all of it."""
    found: list[str] = []
    for path in paths:
        try:
            _load_usable(path)
        except InputError as error:
            found.append(str(error))
    return found
