"""The only file that knows pytest: options, collection, fixtures, reports. No arithmetic and no model code in here.

At import this costs the standard library and pytest; everything else is imported when `--ft-model` asks for it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ftgate.run.late import Late
from pytest_ftgate.run.options import OPTIONS

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

    from pytest_ftgate.answers.engine.protocol import Engine
    from pytest_ftgate.answers.stage import StageResult
    from pytest_ftgate.evalset.types import EvalSet, GateSpec
    from pytest_ftgate.gates.asserting import Results
    from pytest_ftgate.gates.overlap import Overlaps
    from pytest_ftgate.model.identity import Candidate
    from pytest_ftgate.results import Verdict
    from pytest_ftgate.run import for_gates, for_plugin
    from pytest_ftgate.run.controller import Controller
    from pytest_ftgate.run.own_tests import Marked
    from pytest_ftgate.run.session import Session
else:
    for_gates, for_plugin = Late("pytest_ftgate.run.for_gates"), Late("pytest_ftgate.run.for_plugin")

EVALSET_SUFFIX = ".eval.yaml"
INFORMATION = ("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow")
"""Options of pytest that only print something."""
NEEDS_MODEL = "needs --ft-model=DIR"
MARKER = "ft_evalset(path): `ft_results` holds the answers to this eval set; path is relative to the root directory"
SESSION: pytest.StashKey[Session] = pytest.StashKey()
CONTROLLER: pytest.StashKey[Controller] = pytest.StashKey()
SHARED: pytest.StashKey[Path] = pytest.StashKey()
"""Directory that all processes of one run share; removed at its end."""
VERDICTS: pytest.StashKey[dict[str, Verdict]] = pytest.StashKey()
"""Node id -> what its gate decided: a gate decides once, however often other plugins run its test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ftgate", "fine-tuned models as code under test (ftgate)")
    for option in OPTIONS:
        group.addoption(option.name, help=option.help, **option.extra)


@pytest.hookimpl(trylast=True)  # after xdist has made its workers' input
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if not _asks_to_judge(config):
        return
    try:
        config.stash[SESSION] = for_plugin.open_session(
            config.option,
            args=config.args,
            written=config.invocation_params.args,
            directory=config.invocation_params.dir,
            root=config.rootpath,
            inifile=config.inipath,
            norecursedirs=config.getini("norecursedirs"),
            distributed=vars(config.option).get("dist", "no") != "no",
            in_worker="workerinput" in vars(config),
            policy_digest=vars(config).get("workerinput", {}).get("ftgate_policy"),
        )
    except for_plugin.Unusable as error:
        raise pytest.UsageError(str(error)) from None
    if worker := vars(config).get("workerinput"):
        config.stash[SHARED] = Path(worker["ftgate_shared"])
        return
    try:
        config.stash[SHARED] = shared = for_plugin.make_shared()
        config.add_cleanup(lambda: shutil.rmtree(shared, ignore_errors=True))
        config.stash[CONTROLLER] = controller = for_plugin.Controller(config.stash[SESSION], shared)
    except for_plugin.Unusable as error:
        raise pytest.UsageError(str(error)) from None
    config.add_cleanup(controller.discard_receipt)
    hooks = (("ftgate-controller", ControllerHooks), ("ftgate-receipt", ReceiptHook))
    for name, hook in hooks:
        if config.pluginmanager.register(hook(config, controller), name) is None:
            raise pytest.UsageError(f"-p no:{name} blocks the run verdict. Fix: leave it out")


def _asks_to_judge(config: pytest.Config) -> bool:
    """A model to judge is named, or, without one, a verdict is asked for in so many words: a mistake to be told."""
    option = config.option
    named = (option.ft_model, option.ft_receipt, option.ft_sign_key)
    return option.ft_verdict == "require" or any(name is not None for name in named)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Around all of pytest: `pytest.exit(returncode=0)` in a hook of a conftest, before or after ours, is no SHIP."""
    try:
        status = yield
    except BaseException as error:  # Ctrl-C in the last hooks: pytest lets it through
        if CONTROLLER in config.stash:
            config.stash[CONTROLLER].withdraw(type(error).__name__)
        raise
    judging = _asks_to_judge(config) and "workerinput" not in vars(config)
    if not judging or any(vars(config.option).get(name) for name in INFORMATION):
        return status
    if CONTROLLER in config.stash:
        return config.stash[CONTROLLER].final_status(int(status))
    if status != 0:
        return status
    return for_plugin.status_without_session(config.option, int(status))


def pytest_report_header(config: pytest.Config) -> str | None:
    session = config.stash.get(SESSION, None)
    return session.header() if session else None


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    session = config.stash.get(SESSION, None)
    if session is None:
        return []
    gates = _gates_of(items)
    return for_gates.before(session, gates, config.stash[SHARED]) if gates else []


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.name.endswith(EVALSET_SUFFIX):
        return EvalSetCollector.from_parent(parent, path=file_path)
    return None


class EvalSetCollector(pytest.File):
    """An eval-set file: one item per gate."""

    def collect(self) -> Iterable[pytest.Item]:
        session = self.config.stash.get(SESSION, None)
        evalset, gates = for_plugin.load_for_collection(self.path, session)
        for gate in gates:
            item = GateItem.from_parent(self, name=gate.kind, callobj=check_gate)
            item.gate, item.evalset = gate, evalset
            if session is None:
                item.add_marker(pytest.mark.skip(reason=NEEDS_MODEL))
            yield item

    def repr_failure(  # type: ignore[override]  # as pytest's own collectors declare it
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> str | TerminalRepr:
        if isinstance(excinfo.value, for_plugin.InputError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class GateItem(pytest.Function):
    """One gate; its name is the gate's kind and its place the line in the eval-set file."""

    gate: GateSpec
    evalset: EvalSet | None

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, self.gate.line - 1, f"{self.path.name.removesuffix(EVALSET_SUFFIX)}::{self.name}"


def check_gate(ft_verdict: Verdict) -> None:
    """The test that every gate is: what could not judge has stopped it at setup already."""
    if ft_verdict.outcome != "PASS":
        pytest.fail(for_gates.explain(ft_verdict), pytrace=False)


def _session(config: pytest.Config) -> Session:
    """The session; a test that asks for what judges is skipped, as gates are, where nothing is judged."""
    if SESSION not in config.stash:
        pytest.skip(NEEDS_MODEL)
    return config.stash[SESSION]


@pytest.fixture(scope="session")
def ft_candidate(pytestconfig: pytest.Config) -> Candidate:
    """What is judged: its directory, its base and their digests. For engines of your own."""
    candidate = _session(pytestconfig).candidate
    candidate.check_unchanged()  # hashed before an engine loads it
    return candidate


@pytest.fixture(scope="session")
def ft_engine(pytestconfig: pytest.Config) -> Engine:
    """What generates answers; override it in a conftest.py. `describe()` must hold what that of ft_candidate does."""
    return _session(pytestconfig).make_engine()


@pytest.fixture(scope="session")
def ft_results(request: pytest.FixtureRequest, ft_overlaps: Overlaps) -> Mapping[str, Results]:
    """Name of an eval set -> what candidate and references answered, for tests marked with `ft_evalset`.

    `ft_results["tickets"].where(topic="refund")`; the assert_* functions decide about them as gates do (docs/api.md).
    """
    session, answered = _session(request.config), request.getfixturevalue
    try:
        made = answered("ft_marked"), answered("ft_stage")
        return for_gates.results_of(session, *made, ft_overlaps, request.config.stash[SHARED])
    except for_plugin.FtgateError as error:
        pytest.fail(f"ERROR ft_results: {error}", pytrace=False)


@pytest.fixture(scope="session")
def ft_marked(request: pytest.FixtureRequest) -> Marked:
    """The eval sets that the selected tests name with `ft_evalset`."""
    marks = (mark.args for item in request.session.items for mark in item.iter_markers("ft_evalset"))
    return for_gates.marked_sets(_session(request.config), marks)


@pytest.fixture(scope="session")
def ft_stage(
    request: pytest.FixtureRequest, ft_engine: Engine, ft_overlaps: Overlaps, ft_marked: Marked
) -> StageResult:
    """Every answer that the selected gates and marked tests need, generated once for all workers."""
    config, gates, shared = request.config, _gates_of(request.session.items), request.config.stash[SHARED]
    report, whole = for_gates.progress_for(config, shared), () if ft_marked.problems else ft_marked.evalsets
    return for_gates.run_stage(_session(config), gates, ft_engine, ft_overlaps, shared, report, whole=whole)


def _gates_of(items: Iterable[pytest.Item]) -> list[tuple[EvalSet, GateSpec]]:
    return [(item.evalset, item.gate) for item in items if isinstance(item, GateItem) and item.evalset]


@pytest.fixture(scope="session")
def ft_overlaps(pytestconfig: pytest.Config) -> Overlaps:
    """What the training data and the eval sets share; searched when a gate asks."""
    return for_gates.Overlaps(_session(pytestconfig).candidate)


@pytest.fixture
def ft_verdict(request: pytest.FixtureRequest, ft_overlaps: Overlaps) -> Verdict:
    """What this gate decides; an ERROR or INCONCLUSIVE one stops the item here, as an error and not as a failure."""
    item, config = request.node, request.config
    used: list[StageResult] = []

    def stage() -> StageResult:
        used.append(request.getfixturevalue("ft_stage"))
        return used[-1]

    decided = config.stash.setdefault(VERDICTS, {})
    if item.nodeid not in decided:
        session, marked = config.stash[SESSION], item.get_closest_marker("xfail")
        judged = (
            for_gates.refuse_xfail(item.evalset, item.gate)
            if marked
            else for_gates.judge(session, item.evalset, item.gate, ft_overlaps, stage, config.stash[SHARED])
        )
        item.user_properties += for_gates.properties(judged, item.evalset, used)
        decided[item.nodeid] = judged
    verdict = decided[item.nodeid]
    if verdict.outcome in ("ERROR", "INCONCLUSIVE"):
        pytest.fail(for_gates.explain(verdict), pytrace=False)
    return verdict


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of the user's own that could not judge is an error, and no failure: its report says so as setup's do."""
    report = yield
    raised = call.excinfo.value if call.when == "call" and call.excinfo else None
    if raised and "ft_results" in vars(item).get("fixturenames", ()) and isinstance(raised, for_plugin.FtgateError):
        report.when, report.longrepr = "setup", f"ERROR {item.name}: {raised}"
    return report


class ControllerHooks:
    """The run verdict: collects gate reports, adds one report of its own, sets the exit code. Not active in workers."""

    def __init__(self, config: pytest.Config, controller: Controller) -> None:
        self._config, self._controller = config, controller
        self._in_workers = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["ftgate_shared"] = str(self._config.stash[SHARED])
        node.workerinput["ftgate_policy"] = self._config.stash[SESSION].policy.digest

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._controller.uncollected(report.nodeid, evalset=report.nodeid.endswith(EVALSET_SUFFIX))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._controller.select(item.nodeid for item in session.items)
        for item in session.items:
            if isinstance(item, GateItem) and item.get_closest_marker("xfail"):
                raise pytest.UsageError(f"{item.nodeid}: a gate cannot be expected to fail. Fix: remove the mark xfail")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self._in_workers:  # what workers say at the end of their collection is shown by nobody
            has_terminal = self._config.pluginmanager.has_plugin("terminalreporter")
            for line in self._controller.before(ids) if has_terminal else ():
                for_plugin.say(self._config, line)
        self._in_workers = True
        self._controller.select(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._controller.receive(report.nodeid, dict(report.user_properties), failed=report.failed)
        # What only the controller reads stays out of junit.
        report.user_properties = [
            (name, value) for name, value in report.user_properties if name not in for_plugin.INTERNAL
        ]

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside the terminal's own wrapper, which ends the progress line
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        self._count(session)
        self._controller.begin()
        try:
            with for_plugin.watching(self._config, self._config.stash[SHARED]):
                result = yield
        except (session.Failed, session.Interrupted):  # -x, --maxfail and --sw end it so; what was judged still counts
            if self._controller.has_judged:
                self._emit(session)
            raise
        self._emit(session)
        return result

    def _count(self, session: pytest.Session) -> None:
        """The verdict is one more test in the count; of no tests, pytest still says that there were none."""
        if session.testscollected and self._controller.wants_verdict:
            session.testscollected += 1

    def _emit(self, session: pytest.Session) -> None:
        """A report of the run verdict as if it were a test: terminal, junit and other reporters show it unaided."""
        decision = self._controller.decide()
        if decision is None:
            return
        if self._in_workers:  # xdist has set the count to its own
            self._count(session)
        hook, nodeid, location = self._config.hook, "ftgate::verdict", ("ftgate", None, "verdict")
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for when, outcome in self._controller.phases():
            text = self._controller.decision_text()
            longrepr: Any = None
            if outcome == "failed":
                longrepr = text
            elif outcome == "skipped":
                longrepr = ("ftgate", 0, text)
            report = pytest.TestReport(
                nodeid=nodeid,
                location=location,
                keywords={},
                outcome=outcome,
                longrepr=longrepr,
                when=when,
                user_properties=self._controller.run_properties(),
            )
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def pytest_keyboard_interrupt(self) -> None:
        self._controller.is_interrupted = True

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        lines = self._controller.summary()
        if lines:
            terminalreporter.section("ftgate")
            for line in lines:
                terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        session.exitstatus = self._controller.exit_status(int(session.exitstatus))


class ReceiptHook:
    """Around all others: the receipt appears when nothing can change the exit code any more."""

    def __init__(self, config: pytest.Config, controller: Controller) -> None:
        self._config, self._controller = config, controller

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException:  # also Ctrl-C and pytest.exit: what the process returns is not ours to say
            self._controller.discard_receipt()
            raise
        session.exitstatus, message = self._controller.publish_receipt(int(session.exitstatus))
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if message and reporter is not None:
            reporter.write_line(message)
        return result


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if SESSION not in config.stash and any(
        NEEDS_MODEL in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])
    ):
        terminalreporter.section("ftgate")
        terminalreporter.write_line("no verdict: no model was judged. To judge one: pytest --ft-model=DIR")
