"""Attempts as a user meets them: counted over runs, sealed in every output, never drawn again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from gateproject import SHIPPING, Project, Run

from pytest_ftgate.trust.attempts.ledger import read_ledger

LEDGER = ".ftgate/ledger.jsonl"


def policy(project: Project, name: str, text: str) -> None:
    path = project.root / "evals" / f"{name}.eval.yaml"
    path.write_text(f"{path.read_text()}attempts: {text}\n", encoding="utf-8")


def another(project: Project, model: str) -> None:
    """The same weights under another configuration file, so another candidate that also passes."""
    other = project.root / "runs" / model
    if not other.exists():
        shutil.copytree(project.root / "runs" / "good", other)
        (other / "ftgate.json").unlink()
        config = other / "adapter_config.json"
        config.write_text(config.read_text() + "\n" * len(model))


def judge(project: Project, *args: str, model: str = "good") -> Run:
    another(project, model)
    shares = any("spend: " in path.read_text() for path in project.root.glob("evals/*.eval.yaml"))
    if shares and not (project.root / LEDGER).exists():
        args = (*args, "--ft-begin-ledger")
    return project.run(f"--ft-model=runs/{model}", "--ft-base=base", "--ft-json=v.json", "--ft-verdict=require", *args)


def alone(project: Project, name: str, text: str) -> str:
    """The folder, in which only this eval set is left, under this policy."""
    policy(project, name, text)
    for path in (project.root / "evals").glob("*.eval.yaml"):
        if path.name != f"{name}.eval.yaml":
            path.unlink()
    return "evals"


def attempts(run: Run) -> dict[str, tuple[int, float]]:
    found = run.verdict["ledger"]["attempts"]
    return {a["evalset"]: (a["attempt"], a["alpha"]) for a in found}


def test_attempts_are_counted_over_runs_and_said(project: Project) -> None:
    first = judge(project, "evals")
    assert attempts(first) == {"general": (1, 0.05), "shape": (1, 0.05), "target": (1, 0.05)}
    assert "attempts  general 1 (none), shape 1 (none), target 1 (none)" in first.out
    assert f"the ledger of attempts begins with this run: {LEDGER}" in first.out
    again = judge(project, "evals", "--ft-html=r.html")
    assert attempts(again) == attempts(first)
    assert "begins with this run" not in again.out
    assert len(read_ledger(project.root).entries) == 3  # the same attempt is not written twice
    second = judge(project, "evals", "--ft-html=r.html", model="second")
    assert {index for index, _ in attempts(second).values()} == {2}
    sentence = "attempt 2 on these examples: no alpha is spent, so one of 2 unfit models ships with up to 9.8%"
    assert f"target: {sentence}" in second.out
    assert sentence in (project.root / "r.html").read_text()
    assert second.code == 0
    entry = second.verdict["ledger"]
    assert (entry["ledger_lines"], entry["ledger_sha256"]) == (7, read_ledger(project.root).hashes[-1])


def test_a_part_of_the_gates_and_then_all_of_them_are_one_attempt(project: Project) -> None:
    assert judge(project, "evals", "-k", "accuracy").code == 22
    assert attempts(judge(project, "evals")) == {"general": (1, 0.05), "shape": (1, 0.05), "target": (1, 0.05)}
    assert [e.outcomes for e in read_ledger(project.root).entries if e.evalset == "target"] == [
        {"accuracy": "PASS"},
        {"accuracy": "PASS", "beats_baseline": "PASS"},
    ]


def test_a_margin_that_is_moved_after_a_look_is_a_new_attempt(project: Project) -> None:
    judge(project, "evals")
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text().replace("min: 0.5", "min: 0.4"))
    run = judge(project, "evals")
    assert attempts(run)["target"] == (2, 0.05)
    assert attempts(run)["shape"] == (1, 0.05)
    assert "target: its gates changed since this candidate was judged: that counts as a new attempt" in run.out


def test_harmonic_levels_decide_and_a_used_up_set_says_what_it_needs(project: Project) -> None:
    """No loss among 60 examples proves less than 10 points at 0.0083 (p = 0.0069), not at 0.0042."""
    folder = alone(project, "general", "{spend: harmonic}")
    assert attempts(judge(project, folder)) == {"general": (1, 0.025)}
    second = judge(project, folder, model="second")
    assert (second.outcomes["general::forgetting"], attempts(second)["general"][1]) == ("PASS", pytest.approx(0.05 / 6))
    assert "judged at alpha 0.0083: all attempts together ship an unfit model with at most 5.0%" in second.out
    third = judge(project, folder, model="third")
    assert (third.code, third.outcomes) == (20, {"general::forgetting": "INCONCLUSIVE"})
    assert "the eval set is used up at attempt 3 (alpha 0.0042 of 0.05 is left): add at least" in third.out
    assert "fresh examples" in third.out
    assert judge(project, folder, model="second").code == 0  # its attempt is shown again, at its own level


def test_a_fixed_budget_ends(project: Project) -> None:
    folder = alone(project, "target", "{spend: 'fixed-budget:1'}")
    assert judge(project, folder).code == 0
    second = judge(project, folder, model="second")
    assert second.code == 20
    assert "at attempt 2, the budget of these examples (fixed-budget:1) is used up" in second.out
    assert len(read_ledger(project.root).entries) == 1  # nothing was seen


def test_a_ledger_that_was_tampered_with_is_said_or_stops_the_gates(project: Project) -> None:
    folder = alone(project, "target", "{spend: harmonic}")
    judge(project, folder)
    (project.root / LEDGER).unlink()
    run = judge(project, folder)
    assert (run.code, set(run.outcomes.values())) == (21, {"ERROR"})
    assert "the attempt count cannot be verified: .ftgate/ledger.jsonl is missing" in run.out
    assert judge(project, folder).code == 21  # the next run does not take the new ledger for a sound one
    assert run.verdict["ledger"]["attempts"][0]["verified"] is False


def test_without_shared_alpha_it_is_said_and_the_gates_are_judged(project: Project) -> None:
    judge(project, "evals")
    lines = (project.root / LEDGER).read_text().splitlines(keepends=True)
    (project.root / LEDGER).write_text("".join(lines[:-1]))
    run = judge(project, "evals")
    assert (run.code, run.outcomes) == (0, SHIPPING)
    assert "attempts  general ? (none), shape ? (none), target ? (none)" in run.out
    assert "attempt count cannot be verified: .ftgate/ledger.jsonl holds 3 of the 4 lines that" in run.out


def test_a_run_that_was_overtaken_by_another_is_not_judged(project: Project) -> None:
    folder = alone(project, "target", "{spend: harmonic}")
    judge(project, folder)
    project.write(
        "conftest.py",
        """
        from pathlib import Path
        from dataclasses import replace
        from pytest_ftgate.trust.attempts.ledger import append_entries

        def pytest_runtest_teardown(item):
            def other(ledger):
                return [replace(ledger.entries[0], candidate="meanwhile", index=2, alpha=0.05 / 6)]
            append_entries(Path(__file__).parent, other)
        """.replace("\n        ", "\n"),
    )
    run = judge(project, folder, "--ft-html=r.html", model="second")
    assert (run.code, set(run.outcomes.values())) == (21, {"ERROR"})
    assert read_ledger(project.root).entries[-1].index == 3  # a look all the same
    assert attempts(run) == {"target": (3, pytest.approx(0.05 / 12))}
    assert "attempts  target 3 (harmonic, alpha 0.0042, refused)" in run.out
    said = (
        "target: attempt 3 on these examples, refused: another run was counted on these examples while this one was "
        "judged at alpha 0.0083; as attempt 3 it has 0.0042. Fix: run again"
    )
    assert said in run.out
    assert said in (project.root / "r.html").read_text()
    assert "all attempts together" not in run.out
    (project.root / "conftest.py").unlink()
    assert attempts(judge(project, folder, model="second")) == {"target": (3, pytest.approx(0.05 / 12))}


AT_ONCE = """
import os
import pytest

def pytest_runtest_teardown(item):
    if not os.environ.get("OTHER"):
        os.environ["OTHER"] = "1"
        assert pytest.main(["evals", "--ft-model=runs/other", "--ft-base=base", "-p", "no:cacheprovider"]) == 0
"""


@pytest.mark.parametrize(("spend", "level", "code"), [("harmonic", 0.05 / 6, 21), ("fixed-budget:2", 0.025, 0)])
def test_of_two_runs_at_once_only_one_has_the_first_share(
    project: Project, monkeypatch: Any, spend: str, level: float, code: int
) -> None:
    """Both are counted before either is written down; where every attempt has the same share, both are judged."""
    folder = alone(project, "target", f"{{spend: '{spend}'}}")
    another(project, "other")
    project.write("conftest.py", AT_ONCE)
    monkeypatch.setenv("OTHER", "")
    run = judge(project, folder)
    first, second = read_ledger(project.root).entries
    assert (first.index, first.alpha, first.outcomes) == (1, 0.025, {"accuracy": "PASS", "beats_baseline": "PASS"})
    assert (second.index, second.alpha) == (2, pytest.approx(level))
    assert (run.code, bool(second.outcomes)) == (code, code == 0)
    assert attempts(run) == {"target": (2, pytest.approx(level))}
    assert ("refused" in run.out) == (code != 0)


def test_a_run_that_was_stopped_has_looked(project: Project) -> None:
    stop = "    if item.name == 'accuracy':\n        pytest.exit('enough', returncode=0)\n"
    project.write("evals/conftest.py", f"import pytest\ndef pytest_runtest_teardown(item):\n{stop}")
    judge(project, "evals")
    assert "target" in {e.evalset for e in read_ledger(project.root).entries}


def test_a_run_that_showed_nothing_has_not(project: Project) -> None:
    project.write(
        "evals/conftest.py",
        "import pytest\n@pytest.fixture(scope='session')\ndef ft_engine():\n"
        "    from pytest_ftgate.errors import EngineError\n    raise EngineError('no memory')\n",
    )
    judge(project, "evals")
    assert read_ledger(project.root).entries == ()
    assert judge(project, "evals", "--collect-only").code == 22
    (project.root / "evals" / "conftest.py").unlink()
    assert attempts(judge(project, "evals", model="second"))["target"] == (1, 0.05)


# -- sealed ------------------------------------------------------------------------------------------------------------

SECRET = "quagga"


def test_sealed_feedback_reaches_no_output(project: Project) -> None:
    """Questions, ids, references and answers of a set that fails, is unsure, leaks and cannot be judged."""
    shutil.rmtree(project.root / "evals")
    (project.root / "bad").rename(project.root / "evals")
    folder = project.root / "evals"
    for path in folder.glob("*.jsonl"):
        path.write_text(path.read_text().replace('"id": "', f'"id": "{SECRET}'))
    outputs = ("--junitxml=j.xml", "--ft-html=r.html", "-v", "-rA", "-l", "--ft-verdict=require")
    names = ("j.xml", "r.html", "v.json")

    def seen() -> str:
        run = project.gates("evals", *outputs)
        return "".join((project.root / name).read_text() for name in names) + run.out

    said = [
        word for texts in project.world.texts.values() for text in texts for word in [text.strip()] if len(word) > 5
    ]
    numbers = ("95% interval", "p = ", "ftgate.p", "ftgate.value", "certified", "% of 60")
    open_output = seen()
    assert SECRET in open_output
    assert [word for word in said if word in open_output]
    assert all(number in open_output for number in numbers)
    for path in folder.glob("*.eval.yaml"):
        path.write_text(path.read_text() + "attempts: {feedback: sealed}\n")
    sealed = seen()
    assert SECRET not in sealed
    assert [word for word in said if word in sealed] == []
    head = "95% interval"  # the title of a column, and of a legend
    assert [number for number in numbers if number in sealed and number != head] == []
    for reason in ("NEAR_MARGIN", "NOTHING_TO_FORGET", "GENERATION"):
        assert reason in sealed
    assert "not passed (sealed: no result is shown)" in sealed
    assert "its feedback is sealed" in sealed


@pytest.mark.parametrize("early", ["", "early_stop: true\n"])
def test_where_asking_ends_does_not_tell_what_a_sealed_set_measured(project: Project, early: str) -> None:
    """A curtailed run asks fewer examples the more are right: a count of them would be a score."""
    path = project.root / "evals" / "target.eval.yaml"
    text = path.read_text().replace("generation:", f"{early}generation:")

    def asked(extra: str) -> tuple[dict[str, int], str]:
        path.write_text(text + extra)
        run = project.gates("evals/target.eval.yaml", "--ft-batch-size=4", "--ft-cache=off", "--junitxml=j.xml")
        return run.verdict["counts"]["candidate"], run.out + (project.root / "j.xml").read_text()

    counts, _ = asked("")
    assert counts["generated"] < counts["planned"]
    counts, out = asked("attempts: {feedback: sealed}\n")
    assert (counts["generated"], counts["spared"]) == (60, 0)
    assert "not needed" not in out
    assert 'name="ftgate.n" value="60"' in out
    assert "target::accuracy        sealed" in out


# -- nobody draws again ------------------------------------------------------------------------------------------------

RERUNS = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for _ in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""

LUCKY = """
import itertools

tries = itertools.count()

def lucky(example, generation):
    return float(next(tries) >= 60)
"""


def test_a_plugin_that_runs_tests_again_gets_the_same_verdict(project: Project, monkeypatch: Any) -> None:
    """A scorer that lets everything pass the second time that it is asked."""
    monkeypatch.syspath_prepend(str(project.root))
    project.write("luck.py", LUCKY)
    project.write("conftest.py", RERUNS)
    alone(project, "target", "{}")
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text().replace("scorer: exact", "scorer: 'luck:lucky'"))
    run = project.gates("evals", "-k", "accuracy", "--ft-verdict=require")
    assert run.outcomes == {"target::accuracy": "FAIL"}
    assert run.code == 1


MARKED = """
import pytest
def pytest_{hook}(item{s}):
    for one in {items}:
        one.add_marker(pytest.mark.xfail)
"""


def test_a_gate_that_is_expected_to_fail_is_a_usage_error(project: Project) -> None:
    project.write("evals/conftest.py", MARKED.format(hook="collection_modifyitems", s="s", items="items"))
    run = project.run("--ft-model=runs/good", "evals")
    assert run.code == 4
    assert "evals/general.eval.yaml::forgetting: a gate cannot be expected to fail" in run.out
    project.write("evals/conftest.py", MARKED.format(hook="runtest_setup", s="", items="[item]"))
    run = project.gates("evals", "--ft-verdict=require")
    assert (run.code, set(run.outcomes.values())) == (21, {"ERROR"})
    assert "target::accuracy: a gate cannot be expected to fail. Fix: remove the xfail mark" in run.out


IN_WORKERS = (
    "--ft-model=runs/good",
    "-n",
    "2",
    "--ft-verdict=require",
    "--ft-json=v.json",
    "-p",
    "no:hypothesispytest",
)


def test_workers_count_once(project: Project) -> None:
    policy(project, "target", "{spend: harmonic}")
    run = project.process("evals", *IN_WORKERS, "--ft-begin-ledger")
    assert (run.code, attempts(run)["target"]) == (0, (1, 0.025)), run.out
    found = read_ledger(project.root)
    assert (found.problem, sorted(e.evalset for e in found.entries)) == ("", ["general", "shape", "target"])


@pytest.mark.slow
def test_a_gate_that_is_expected_to_fail_is_an_error_in_workers(project: Project) -> None:
    project.write("evals/conftest.py", MARKED.format(hook="collection_modifyitems", s="s", items="items"))
    run = project.process("evals", *IN_WORKERS)
    assert (run.code, set(run.outcomes.values())) == (21, {"ERROR"})
    assert "target::accuracy: a gate cannot be expected to fail" in run.out


def test_a_ledger_that_cannot_be_written_ends_shared_alpha_only(project: Project) -> None:
    project.write(".ftgate", "a file where a folder is wanted")
    run = judge(project, "evals")
    assert (run.code, run.outcomes) == (0, SHIPPING)
    assert "the attempt could not be written into .ftgate/ledger.jsonl" in run.out
    policy(project, "target", "{spend: harmonic}")
    run = judge(project, "evals")
    assert (run.code, run.outcomes["target::accuracy"], run.outcomes["shape::format"]) == (21, "ERROR", "PASS")


def test_the_folder_of_a_path_is_no_part_of_an_attempt(project: Project) -> None:
    judge(project, "evals")
    elsewhere: Path = project.root / "moved"
    (project.root / "evals").rename(elsewhere)
    run = judge(project, "moved")
    assert attempts(run)["target"] == (1, 0.05)


def test_s12_a_ledger_that_nobody_begun_is_an_error_where_alpha_is_shared(project: Project) -> None:
    folder = alone(project, "target", "{spend: 'fixed-budget:1', feedback: sealed}")
    args = (folder, "--ft-base=base", "--ft-verdict=require")
    assert project.gates(*args, "--ft-begin-ledger").code == 0
    assert project.gates(*args).code == 0
    assert project.gates(*args, "--ft-begin-ledger").code == 4  # it was begun before
    shutil.rmtree(project.root / ".ftgate")
    another(project, "second")
    lost = project.run("--ft-model=runs/second", *args)
    assert lost.code == 21, lost.out
    assert "there is no ledger that a run has begun for eval sets that share alpha" in lost.out
    assert "--ft-begin-ledger" in lost.out
    assert project.run("--ft-model=runs/second", *args).code == 21  # and the refused run has begun none
    project.write("pytest.ini", "[pytest]\naddopts = --ft-begin-ledger\n")
    assert project.run("--ft-model=runs/second", *args).code == 4  # no configuration file says so
