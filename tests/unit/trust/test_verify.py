"""`pytest-ftgate verify`: an exit code for each answer, whole copies or none, no library but Python's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from receipts import NOW, POLICY, Case, make_case, make_keys

from pytest_ftgate import cli
from pytest_ftgate.model import directory as files
from pytest_ftgate.trust.receipt.verify import UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Case:
    """Written now: the command knows no other clock."""
    from datetime import UTC, datetime

    return make_case(tmp_path, at=datetime.now(UTC))


def command(*args: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = cli.main(["verify", *map(str, args)])
    except SystemExit as error:
        code = int(error.code or 0)
    return (code, *capsys.readouterr())


def extra(case: Case) -> None:
    (case.adapter / "adapter_model.bin").write_bytes(b"x")


def gone(case: Case) -> None:
    (case.adapter / "adapter_config.json").unlink()


def renamed(case: Case) -> None:
    (case.adapter / "adapter_config.json").rename(case.adapter / "adapter_config.JSON")


def swapped(case: Case) -> None:
    one, two = (case.adapter / name for name in ("adapter_config.json", "adapter_model.safetensors"))
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


def link(case: Case) -> None:
    path = case.adapter / "adapter_config.json"
    path.rename(case.adapter.parent / "moved")
    path.symlink_to(case.adapter.parent / "moved")


def collides(case: Case) -> None:
    (case.adapter / "ADAPTER_CONFIG.json").write_text("{}")


def newline(case: Case) -> None:
    (case.adapter / "a\nb").write_text("{}")


@pytest.mark.parametrize("change", [extra, gone, renamed, swapped, link, collides, newline])
def test_other_files_than_judged(case: Case, change: Callable[[Case], None]) -> None:
    """F40, F77: rebuilt, re-saved, mixed up, or with a file more."""
    change(case)
    answer = case.ask()
    assert answer.code == 30
    assert [check.name for check in answer.checks if not check.ok] == ["files"]
    assert all(check.text.isprintable() for check in answer.checks)


def test_an_edited_model_card_is_no_other_model(case: Case) -> None:
    (case.adapter / "README.md").write_text("edited")
    assert case.code() == 0


def test_a_receipt_beside_the_weights_does_not_disturb(case: Case) -> None:
    beside = case.adapter / "receipt.intoto.json"
    case.receipt.rename(beside)
    assert case.code(receipt=beside) == 0


def test_policy_digests(case: Case, tmp_path: Path) -> None:
    assert case.code(policies=[POLICY.digest]) == 0
    assert case.code(policies=["0" * 64, POLICY.digest]) == 0
    assert case.code(policies=["0" * 64]) == 32
    file = tmp_path / "ftgate.toml"
    file.write_text("x")
    assert case.code(policy_file=file) == 32  # the run knew no policy file
    with pytest.raises(UsageError):
        case.code(policy_file=tmp_path / "none.toml")


def test_a_policy_file(tmp_path: Path) -> None:
    from pytest_ftgate.files.digests import file_sha256

    file = tmp_path / "ftgate.toml"
    file.write_text("x")
    case = make_case(tmp_path, policy_file=file_sha256(file))
    assert case.code(policy_file=file) == 0
    file.write_text("y")
    assert case.code(policy_file=file) == 32


def test_another_base(case: Case, tmp_path: Path) -> None:
    base = case.candidate.base_path
    assert case.code(base=base) == 0
    (base / "model.safetensors").write_bytes(b"other")
    assert case.code(base=base) == 30
    with pytest.raises(UsageError, match="no directory"):
        case.code(base=tmp_path / "none")


@pytest.mark.parametrize("name", ["adapter_config.json", "additional_chat_templates/default.jinja"])
def test_a_base_to_which_something_was_added(case: Case, name: str) -> None:
    """Both change what transformers serves, and touch no file that was judged."""
    added = case.candidate.base_path / name
    added.parent.mkdir(exist_ok=True)
    added.write_text("{}")
    assert case.code(base=case.candidate.base_path) == 30


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_answer_that_cannot_be_written_is_no_answer(fresh: Case, options: list[str]) -> None:
    told = [sys.executable, "-m", "pytest_ftgate", "verify", str(fresh.adapter), "--receipt", str(fresh.receipt)]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*told, *options], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (4, "error: cannot write the answer: No space left on device\n")


def test_a_name_that_the_terminal_cannot_show(fresh: Case, tmp_path: Path) -> None:
    told = [sys.executable, "-m", "pytest_ftgate", "verify", str(fresh.adapter), "--receipt", str(tmp_path / "é")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(told, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (34, "")
    assert "\\xe9: expected a file" in done.stdout


def test_a_base_in_the_hub_cache_is_links(case: Case, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in case.candidate.base_path.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert case.code(base=snapshot) == 0


def test_runtime(case: Case) -> None:
    """F47: judged in one precision, served in another."""
    assert case.code(runtime={"dtype": "float32", "quantize": "none", "batchSize": "64"}) == 0
    assert case.code(runtime={"quantize": "nf4"}) == 30
    with pytest.raises(UsageError, match="records no 'dtypo'"):
        case.code(runtime={"dtypo": "float32"})


def test_age(case: Case) -> None:
    day = timedelta(days=1)
    assert case.code(now=NOW + 89 * day) == 0
    assert case.code(now=NOW + 90 * day) == 33
    assert case.code(now=NOW + 31 * day, max_age=30 * day) == 33
    assert case.code(now=NOW + 30 * day, max_age=30 * day) == 0
    assert case.code(now=NOW - timedelta(minutes=4)) == 0
    assert case.code(now=NOW - timedelta(minutes=6)) == 33


def test_the_first_check_that_failed_decides(case: Case) -> None:
    extra(case)
    answer = case.ask(policies=["0" * 64], now=NOW + timedelta(days=365))
    assert answer.code == 30
    assert [check.name for check in answer.checks if not check.ok] == ["files", "policy", "time"]


def test_a_copy_appears_on_yes(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "srv" / "model"
    assert case.code(copy_to=target) == 0
    assert files.digests(target) == files.digests(case.adapter)
    assert sorted(p.name for p in target.parent.iterdir()) == ["model"]


def test_an_empty_directory_may_be_filled(case: Case, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert case.code(copy_to=tmp_path / "model") == 0
    assert (tmp_path / "model" / "adapter_config.json").is_file()


def test_no_copy_appears_on_no(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "srv" / "model"
    assert case.code(copy_to=target, now=NOW + timedelta(days=365)) == 33
    assert not target.parent.exists()
    extra(case)
    assert case.code(copy_to=target) == 30
    assert list(target.parent.iterdir()) == []


def test_the_copied_bytes_decide_not_those_before(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is swapped between a look and the copy is found, since there is no look before the copy."""
    real = files.copy

    def late(directory: Path, target: Path) -> dict[str, str]:
        (directory / "adapter_config.json").write_text("{}")
        return real(directory, target)

    monkeypatch.setattr(files, "copy", late)
    assert case.code(copy_to=tmp_path / "model") == 30
    assert not (tmp_path / "model").exists()


def test_a_disk_that_is_full_leaves_nothing(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        case.code(copy_to=tmp_path / "model")
    assert {p.name for p in tmp_path.iterdir()} == {"base", "run1", "receipt.json"}


@pytest.mark.parametrize("kind", ["file", "full", "inside", "itself", "link"])
def test_places_that_nothing_is_copied_to(case: Case, tmp_path: Path, kind: str) -> None:
    target = {"inside": case.adapter / "sub", "itself": case.adapter}.get(kind, tmp_path / "model")
    if kind == "file":
        target.write_text("x")
    elif kind == "full":
        target.mkdir()
        (target / "x").write_text("x")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="Fix:"):
        case.code(copy_to=target)
    assert case.code() == 0


# The command


def test_it_tells_every_check(fresh: Case, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(fresh.adapter, "--receipt", fresh.receipt, capsys=capsys)
    assert (code, err) == (0, "")
    names = ["receipt", "signature", "files", "policy", "verdict", "time"]
    assert [line.split()[:2] for line in out.splitlines()[:-1]] == [["ok", name] for name in names]
    assert out.splitlines()[-1] == "yes: run1 may ship"


def test_it_tells_what_failed(fresh: Case, capsys: pytest.CaptureFixture[str]) -> None:
    extra(fresh)
    code, out, _ = command(fresh.adapter, "--receipt", fresh.receipt, capsys=capsys)
    assert code == 30
    assert "FAILED  files      adapter_model.bin: not expected, found" in out
    assert out.splitlines()[-1] == "no (30): files"


def test_json_for_programs(fresh: Case, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(fresh.adapter, "--receipt", fresh.receipt, "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["ok"], told["exit_code"], told["verdict"]) == (0, True, 0, "SHIP")
    extra(fresh)
    code, out, _ = command(fresh.adapter, "--receipt", fresh.receipt, "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["ok"], told["exit_code"]) == (30, False, 30)


BAD: list[list[Any]] = [
    [],
    ["DIR"],
    ["DIR", "--receipt"],
    ["DIR", "--receipt", "R", "--nonsense"],
    ["DIR", "--rec", "R"],
    ["DIR", "--receipt", "R", "--max-age", "30"],
    ["DIR", "--receipt", "R", "--max-age", "-1d"],
    ["DIR", "--receipt", "R", "--policy-digest", "abc"],
    ["DIR", "--receipt", "R", "--runtime", "dtype"],
    ["DIR", "--receipt", "R", "--runtime", "dtype=a,dtype=b"],
    ["DIR", "--receipt", "R", "--require-signature"],
    ["DIR", "--receipt", "R", "--base", "nowhere"],
    ["nowhere", "--receipt", "R"],
]


@pytest.mark.parametrize("args", BAD, ids=lambda args: " ".join(args[1:]) or "nothing")
def test_what_cannot_be_asked_is_a_usage_error(
    fresh: Case, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    names = {"DIR": str(fresh.adapter), "R": str(fresh.receipt)}
    code, out, err = command(*(names.get(arg, arg) for arg in args), capsys=capsys)
    assert code == 4
    assert "error: " in err
    assert "yes" not in out


def test_options_of_the_command_reach_the_check(
    fresh: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, public = make_keys(tmp_path)
    base = [fresh.adapter, "--receipt", fresh.receipt]
    assert command(*base, "--policy-digest", f"sha256:{POLICY.digest.upper()}", capsys=capsys)[0] == 0
    assert command(*base, "--policy-digest", "0" * 64, capsys=capsys)[0] == 32
    assert command(*base, "--max-age", "90m", capsys=capsys)[0] == 0
    assert command(*base, "--max-age", "0m", capsys=capsys)[0] == 33
    assert command(*base, "--runtime", "dtype=float32,quantize=none", capsys=capsys)[0] == 0
    assert command(*base, "--runtime", "dtype=bfloat16", capsys=capsys)[0] == 30
    assert command(*base, "--base", fresh.candidate.base_path, capsys=capsys)[0] == 0
    assert command(*base, "--key", public, "--require-signature", capsys=capsys)[0] == 31
    assert command(*base, "--copy-to", tmp_path / "there", capsys=capsys)[0] == 0
    assert (tmp_path / "there").is_dir()


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "pytest_ftgate":
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv.pop(1))
from pytest_ftgate.cli import main
code = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in sys.modules}
assert loaded <= {*sys.stdlib_module_names, "pytest_ftgate", "__main__", "__mp_main__"}, loaded
sys.exit(code)
"""


def test_it_needs_nothing_but_python(fresh: Case) -> None:
    """-I -S: no site-packages at all; and a blocker says which import was tried."""
    args = ["verify", str(fresh.adapter), "--receipt", str(fresh.receipt), "--base", str(fresh.candidate.base_path)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BLOCKER, str(ROOT), *args], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("yes: run1 may ship\n")
    extra(fresh)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BLOCKER, str(ROOT), *args], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 30
    assert "Traceback" not in done.stderr


def test_a_signature_without_the_library_says_what_to_install(fresh: Case, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    case = make_case_signed(tmp_path, private)
    args = ["verify", str(case.adapter), "--receipt", str(case.receipt), "--key", str(public)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BLOCKER, str(ROOT), *args], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 4
    assert 'pip install "pytest-ftgate[sign]"' in done.stderr


def make_case_signed(folder: Path, key: Path) -> Case:
    (folder / "signed").mkdir()
    return make_case(folder / "signed", key=key)
