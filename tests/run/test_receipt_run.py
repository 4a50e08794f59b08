"""The receipt of a run: there when every gate was judged on files that stayed what they were, and never otherwise."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gateproject import OneGate, Project, Run
from receipts import make_keys

from pytest_ftgate.trust.receipt.verify import Request, verify

SHIPS = ("evals", "--ft-receipt=r.json")


def asked(project: Project, **changes: Any) -> int:
    """What `pytest-ftgate verify` says of the receipt."""
    given = {"adapter": project.world.good, "receipt": project.root / "r.json", "now": datetime.now(UTC), **changes}
    return verify(Request(**given)).code


def predicate(project: Project) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project.root / "r.json").read_text())["predicate"]
    return loaded


def plant(project: Project) -> Path:
    """A receipt of an earlier run."""
    path = project.root / "r.json"
    path.write_text('{"predicateType": "https://github.com/pytest-ftgate/pytest-ftgate/verdict/v9"}')
    return path


def left(project: Project) -> list[str]:
    """The receipt, and drafts of one."""
    return sorted(p.name for p in project.root.iterdir() if "r.json" in p.name)


def test_ship(project: Project) -> None:
    """Asking for a receipt is asking for a verdict: exit 0, SHIP and a receipt that verifies, all or none (P6)."""
    run = project.gates(*SHIPS)
    assert (run.code, run.verdict["verdict"]) == (0, "SHIP")
    assert left(project) == ["r.json"]
    assert "receipt   r.json (SHIP)" in run.out
    told = predicate(project)
    assert asked(project, policies=[told["policy"]["digest"]["sha256"]], base=project.world.base) == 0
    assert f"receipt   policy sha256 {told['policy']['digest']['sha256']}" in run.out
    assert asked(project, runtime={"dtype": "float32", "quantize": "none"}) == 0


def test_what_it_tells(project: Project) -> None:
    project.gates(*SHIPS, "--ft-receipt-days=7")
    told = predicate(project)
    assert [gate["id"] for gate in told["gates"]] == [
        "general::forgetting",
        "shape::format",
        "target::accuracy",
        "target::beats_baseline",
    ]
    assert (told["coverage"]["planned"], told["coverage"]["answered"], told["coverage"]["errors"]) == (360, 360, 0)
    assert told["coverage"]["stored"]["candidate"] == 0
    assert [(e["name"], e["n"], e["distinct"]) for e in told["evalsets"]] == [
        ("general", 60, 60),
        ("shape", 60, 60),
        ("target", 60, 60),
    ]
    assert told["adapter"]["readBackTensors"] == 12
    assert told["adapter"]["effect"] > 0
    assert told["base"]["name"] == "base"
    begin, end = (datetime.fromisoformat(told[key]) for key in ("timeVerified", "notAfter"))
    assert (end - begin).days == 7
    text = (project.root / "r.json").read_text()
    assert str(project.root) not in text
    assert all(row not in text for row in project.world.texts["candidate"] if len(row) > 3)


def test_which_attempt_it_was_is_in_it(project: Project) -> None:
    run = project.gates(*SHIPS)
    told = predicate(project)["attempts"]
    assert told == run.verdict["ledger"]
    assert {(a["evalset"], a["attempt"], a["alpha"], a["verified"]) for a in told["attempts"]} == {
        (name, 1, 0.05, True) for name in ("general", "shape", "target")
    }
    lines = (project.root / ".ftgate" / "ledger.jsonl").read_bytes().splitlines()
    assert told["ledger_lines"] == len(lines)


def test_the_digest_of_the_numbers_is_in_it(project: Project) -> None:
    from pytest_ftgate.files.digests import file_sha256

    project.gates(*SHIPS)
    assert predicate(project)["results"] == {"sha256": file_sha256(project.root / "v.json")}


def test_a_signed_one(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    private, public = make_keys(tmp_path_factory.mktemp("keys"))
    assert project.gates(*SHIPS, f"--ft-sign-key={private}").code == 0
    assert asked(project, keys=[public]) == 0
    assert asked(project) == 31


@pytest.mark.parametrize(
    ("name", "code", "verdict"), [("accuracy_fail", 1, "BLOCK"), ("accuracy_unsure", 20, "INCONCLUSIVE")]
)
def test_other_verdicts_leave_one_that_is_no_consent(
    project: Project, only: OneGate, name: str, code: int, verdict: str
) -> None:
    assert project.gates(only(name), "--ft-receipt=r.json").code == code
    assert predicate(project)["verdict"] == verdict
    assert asked(project) == 1


def test_a_failed_test_that_is_no_gate(project: Project) -> None:
    project.write("evals/test_other.py", "def test_other():\n    assert 1 == 2\n")
    assert project.gates(*SHIPS).code == 1
    assert asked(project) == 1


def test_a_run_that_stops_at_a_gate_that_failed(project: Project) -> None:
    for part in ("accuracy_fail.eval.yaml", "accuracy_fail.jsonl"):
        (project.root / "evals" / part).write_bytes((project.root / "bad" / part).read_bytes())
    assert project.gates(*SHIPS, "-x").code == 1
    assert predicate(project)["scope"] == "stopped"
    assert asked(project) == 1


def no_receipt(project: Project, run: Run, code: int) -> None:
    assert run.code == code, run.out
    assert left(project) == []
    assert "SHIP:" not in run.out
    assert asked(project) == 34


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("evals", "-k", "not forgetting"), 22),
        (("evals/target.eval.yaml",), 22),
        (("evals", "--deselect=evals/target.eval.yaml::accuracy"), 22),
        (("evals", "--collect-only"), 22),
        (("evals", "--ft-verdict=off"), 4),
        (("nowhere",), 4),
        (("evals", "--ft-base=nowhere"), 4),
        (("evals", "--ft-sign-key=nowhere"), 4),
        (("draft",), 21),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else None,
)
def test_runs_that_leave_none_and_take_the_old_one_away(project: Project, args: tuple[str, ...], code: int) -> None:
    (project.root / "draft").mkdir()
    plant(project)
    no_receipt(project, project.run("--ft-model=runs/good", "--ft-receipt=r.json", *args), code)


@pytest.mark.parametrize("args", [("--ft-receipt=r.json",), ("--ft-verdict=require", "--ft-receipt=r.json")])
def test_no_model_is_no_verdict(project: Project, args: tuple[str, ...]) -> None:
    """Where --ft-model got lost, gates are skipped, and pytest would return 0."""
    plant(project)
    no_receipt(project, project.run("evals", *args), 4)
    assert project.run("evals", "--ft-verdict=require").code == 4
    assert project.run("evals", "--ft-sign-key=x").code == 4


def test_a_gate_that_could_not_judge(project: Project, only: OneGate) -> None:
    plant(project)
    no_receipt(project, project.gates(only("too_long"), "--ft-receipt=r.json"), 21)


def test_a_model_that_does_not_exist(project: Project) -> None:
    plant(project)
    no_receipt(project, project.run("evals", "--ft-model=runs/god", "--ft-receipt=r.json"), 4)


WARNED = """
import warnings
def pytest_configure(config):
    config.option.max_warnings = 0
def pytest_runtest_teardown(item):
    warnings.warn("y")
"""
ENDS = {
    "exit at the end": ("def pytest_sessionfinish(session):\n    pytest.exit('x', returncode=0)\n", 21),
    "exit in a gate": ("def pytest_runtest_setup(item):\n    pytest.exit('x', returncode=0)\n", 21),
    "a hook that breaks": ("def pytest_runtest_logfinish(nodeid):\n    raise RuntimeError\n", 3),
    "warnings": (WARNED, 6),
}


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_run_that_ends_otherwise(project: Project, end: str) -> None:
    trick, code = ENDS[end]
    project.write("evals/conftest.py", "import pytest\n" + trick)
    plant(project)
    assert project.gates(*SHIPS).code == code
    assert left(project) == []


@pytest.mark.parametrize("hook", ["pytest_runtest_teardown(item)", "pytest_sessionfinish(session)"])
def test_ctrl_c(project: Project, hook: str) -> None:
    project.write("evals/conftest.py", f"def {hook}:\n    raise KeyboardInterrupt\n")
    plant(project)
    with pytest.raises(KeyboardInterrupt):
        project.gates(*SHIPS)
    assert left(project) == []


CHANGES = {
    "weights": "open('runs/good/adapter_model.safetensors', 'ab').write(b'x')",
    "a file more": "open('runs/good/extra.bin', 'w').write('x')",
    "a link": "import os; os.path.islink('runs/good/x') or os.symlink('ftgate.json', 'runs/good/x')",
    "a file less": "import os; os.path.exists('runs/good/ftgate.json') and os.unlink('runs/good/ftgate.json')",
    "base": "open('base/generation_config.json', 'a').write(' ')",
}


@pytest.mark.parametrize(
    ("what", "receipt"), [*((what, True) for what in CHANGES), ("weights", False), ("base", False)]
)
def test_files_that_change_during_the_run(project: Project, what: str, receipt: bool) -> None:
    """Changed in place: which bytes were judged is not known, receipt or not."""
    trick = f"def pytest_runtest_teardown(item):\n    if item.name == 'format':\n        {CHANGES[what]}\n"
    project.write("evals/conftest.py", trick)
    plant(project)
    run = project.gates("evals", "--ft-receipt=r.json" if receipt else "--ft-verdict=require")
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")
    assert "while it was judged" in run.verdict["reason"]
    assert "SHIP:" not in run.out
    assert receipt is (left(project) == [])


def test_a_receipt_that_cannot_be_written_is_no_ship(project: Project) -> None:
    """F29."""
    project.write("full", "a file where a folder is wanted")
    run = project.gates("evals", "--ft-receipt=full/r.json")
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")
    assert "the receipt could not be written" in run.verdict["reason"]


def test_a_receipt_that_cannot_appear_is_no_ship(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ftgate.trust.receipt.writing import Draft

    def fail(_: Draft) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Draft, "publish", fail)
    run = project.gates(*SHIPS)
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")
    assert "NOT_EVALUATED: the receipt could not be written: No space left on device" in run.out
    assert left(project) == []


def test_a_gate_that_failed_stays_failed_without_a_receipt(project: Project, only: OneGate) -> None:
    project.write("full", "a file where a folder is wanted")
    run = project.gates(only("accuracy_fail"), "--ft-receipt=full/r.json")
    assert (run.code, run.verdict["verdict"]) == (1, "BLOCK")
    assert "the receipt could not be written" in run.out


OTHER_ENGINE = """
    import pytest
    @pytest.fixture(scope="session")
    def ft_engine(ft_engine):
        class Other:
            encode, fingerprint, generate = ft_engine.encode, ft_engine.fingerprint, ft_engine.generate
            def describe(self):
                return {name: value for name, value in ft_engine.describe().items() if name != "digest"}
        return Other()
"""


def test_an_engine_that_does_not_say_what_it_judged(project: Project) -> None:
    project.write("evals/conftest.py", textwrap.dedent(OTHER_ENGINE))
    assert project.gates("evals", "--ft-verdict=require").code == 21
    run = project.gates(*SHIPS)
    assert run.code == 21
    assert "the engine does not say" in run.verdict["reason"]
    assert left(project) == []


def test_reports_do_not_lie_in_the_base(project: Project) -> None:
    for option in ("--ft-receipt", "--ft-json", "--ft-html"):
        run = project.run("evals", "--ft-model=runs/good", f"{option}=base/report.json")
        assert (run.code, "would lie in the folder of the base" in run.out) == (4, True)
    assert not (project.root / "base" / "report.json").exists()


@pytest.mark.parametrize("name", ["model", "base", "json", "html", "receipt", "sign-key", "policy", "policy-ref"])
def test_an_empty_name_is_a_mistake(project: Project, name: str) -> None:
    """As from `--ft-sign-key=$KEY` where KEY is not set: unsigned, it would look like success."""
    given = [] if name == "model" else ["--ft-model=runs/good"]
    run = project.run("evals", *given, "--ft-receipt=r.json", f"--ft-{name}=")
    assert (run.code, f"--ft-{name}= is empty" in run.out) == (4, True)


def test_places_in_the_candidate(project: Project) -> None:
    """Under a name that does not count, it may lie there; else it would be part of what was judged."""
    place = "runs/good/receipt.intoto.json"
    assert project.gates("evals", f"--ft-receipt={place}").code == 0
    assert asked(project, receipt=project.root / place) == 0
    assert project.gates("evals", f"--ft-receipt={place}").code == 0
    for option in ("--ft-receipt", "--ft-json", "--ft-html"):
        run = project.run("evals", "--ft-model=runs/good", f"{option}=runs/good/adapter_config.json")
        assert run.code == 4
        assert "part of the candidate" in run.out
    assert (project.world.good / "adapter_config.json").is_file()


def test_a_file_that_is_no_receipt_is_not_overwritten(project: Project) -> None:
    before = (project.root / "train.jsonl").read_bytes()
    run = project.run("evals", "--ft-model=runs/good", "--ft-receipt=train.jsonl")
    assert run.code == 4
    assert "is no receipt" in run.out
    assert (project.root / "train.jsonl").read_bytes() == before
    assert project.run("evals", "--ft-model=runs/good", "--ft-receipt=base").code == 4
    assert project.gates("evals", "--ft-receipt=v.json").code == 4


def test_keys_that_cannot_be_used(project: Project) -> None:
    private, public = make_keys(project.root)
    inside = project.world.good / "k.pem"
    inside.write_bytes(private.read_bytes())
    for args, why in (
        (("--ft-sign-key=ftgate.key",), "none was asked for"),
        (("--ft-receipt=r.json", "--ft-sign-key=runs/good/k.pem"), "would be deployed"),
        (("--ft-receipt=r.json", f"--ft-sign-key={public}"), "no private key"),
    ):
        run = project.run("evals", "--ft-model=runs/good", *args)
        assert run.code == 4
        assert why in run.out


def test_odd_names_in_the_candidate(project: Project) -> None:
    (project.world.good / "x").symlink_to("ftgate.json")
    run = project.run("evals", "--ft-model=runs/good")
    assert run.code == 4
    assert "cp -rL" in run.out


def test_a_candidate_behind_a_link_is_the_directory_it_leads_to(project: Project) -> None:
    (project.root / "latest").symlink_to("runs/good")
    assert project.run("evals", "--ft-model=latest", "--ft-receipt=r.json").code == 0
    assert asked(project) == asked(project, adapter=project.root / "latest") == 0


def test_rehash_reads_the_base_again(project: Project) -> None:
    assert project.gates(*SHIPS, "--ft-rehash").code == 0
    assert asked(project, base=project.world.base) == 0


@pytest.mark.slow
def test_with_workers(project: Project) -> None:
    plant(project)
    run = project.process("--ft-model=runs/good", *SHIPS, "-n", "2")
    assert run.code == 0, run.out
    assert asked(project) == 0
    assert left(project) == ["r.json"]


@pytest.mark.slow
def test_files_that_change_under_workers(project: Project) -> None:
    project.write("evals/conftest.py", "def pytest_runtest_teardown(item):\n    " + CHANGES["weights"])
    run = project.process("--ft-model=runs/good", *SHIPS, "-n", "2")
    assert run.code == 21, run.out
    assert left(project) == []
