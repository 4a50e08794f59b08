"""What a receipt says, and that nothing else is believed: forged fields, odd files, and every byte flipped."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receipts import GATE, NOW, Case, judged, make_candidate, make_case, make_keys

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.results import Generation
from pytest_ftgate.trust.receipt import verify
from pytest_ftgate.trust.receipt.form import PREDICATE_TYPE, ReceiptError, parse, render
from pytest_ftgate.trust.receipt.statement import statement


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path)


def test_a_fresh_receipt_is_believed(case: Case) -> None:
    answer = case.ask()
    assert answer.code == 0, answer.checks
    assert answer.receipt is not None
    assert (answer.receipt.verdict, answer.receipt.scope) == ("SHIP", "full")
    assert sorted(answer.receipt.files) == ["adapter_config.json", "adapter_model.safetensors"]


def test_it_is_an_intoto_statement_in_strict_json(case: Case) -> None:
    content = json.loads(case.receipt.read_text(), parse_constant=pytest.fail)
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    assert content["predicateType"] == PREDICATE_TYPE
    assert all(set(s) == {"name", "digest"} and set(s["digest"]) == {"sha256"} for s in content["subject"])
    assert case.receipt.read_text() == json.dumps(content, indent=2, sort_keys=True) + "\n"


def test_it_holds_no_path_of_the_machine_and_no_environment(tmp_path: Path) -> None:
    environ = {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_RUN_ID": "17",
        "GITHUB_RUN_ATTEMPT": "2",
        "GITHUB_SHA": "a" * 40,
        "SECRET_TOKEN": "hunter2hunter2",
    }
    case = make_case(tmp_path, environ=environ)
    text = case.receipt.read_text()
    assert str(tmp_path) not in text
    assert "hunter2" not in text
    run = json.loads(text)["predicate"]["run"]
    assert run == {"uri": "https://github.com/o/r/actions/runs/17", "attempt": 2, "commit": "a" * 40}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_RUN_ID", "17\n::error::x"),
        ("GITHUB_REPOSITORY", "o/r/../x y"),
        ("GITHUB_SERVER_URL", "javascript:alert(1)"),
        ("GITHUB_SERVER_URL", ""),
    ],
)
def test_what_github_would_not_say_is_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    environ = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "1", name: value}
    made = statement(judged(make_candidate(tmp_path)), environ)
    assert made["predicate"]["run"] is None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_makes_no_receipt(tmp_path: Path, number: float) -> None:
    made = statement(judged(make_candidate(tmp_path), engine={"effect": number}), {})
    with pytest.raises(ValueError, match="JSON compliant"):
        render(made)


def test_coverage_counts_what_was_not_answered(tmp_path: Path) -> None:
    answers = {"a": Generation("x", (1,), "stop", 3), "b": Generation("", (), "error", 3, error="too long")}
    counts = {"candidate": {"planned": 2, "unique": 2, "stored": 0, "generated": 2, "rejected": 0, "unsaved": 0}}
    stage = StageResult({"tickets": {"candidate": answers}}, {}, counts, {})
    coverage = statement(judged(make_candidate(tmp_path), stage=stage), {})["predicate"]["coverage"]
    assert (coverage["planned"], coverage["answered"], coverage["errors"], coverage["cutOff"]) == (2, 1, 1, 0)


FORGED: dict[str, tuple[Any, ...]] = {
    "no subjects": (("subject",), []),
    "subjects gone": (("subject",), None),
    "subjects no list": (("subject",), {"name": "x"}),
    "verdict in lower case": (("predicate", "verdict"), "ship"),
    "verdict true": (("predicate", "verdict"), True),
    "verdict a list": (("predicate", "verdict"), ["SHIP"]),
    "verdict gone": (("predicate", "verdict"), None),
    "scope gone": (("predicate", "scope"), None),
    "scope stopped": (("predicate", "scope"), "stopped"),
    "scope of tomorrow": (("predicate", "scope"), "FULL"),
    "errors": (("predicate", "coverage", "errors"), 1),
    "errors negative": (("predicate", "coverage", "errors"), -1),
    "errors false": (("predicate", "coverage", "errors"), False),
    "errors text": (("predicate", "coverage", "errors"), "0"),
    "coverage gone": (("predicate", "coverage"), None),
    "no gates": (("predicate", "gates"), []),
    "gates gone": (("predicate", "gates"), None),
    "a gate that failed": (("predicate", "gates", 0, "outcome"), "FAIL"),
    "a gate that erred": (("predicate", "gates", 0, "outcome"), "ERROR"),
    "a gate without outcome": (("predicate", "gates", 0, "outcome"), None),
    "another hash of the directory": (("predicate", "adapter", "dirHash"), "0" * 64),
    "notAfter with an offset": (("predicate", "notAfter"), "2027-02-20T12:00:00+14:00"),
    "notAfter without zone": (("predicate", "notAfter"), "2027-02-20T12:00:00"),
    "notAfter in a far year": (("predicate", "notAfter"), "12027-02-20T12:00:00Z"),
    "notAfter of no day": (("predicate", "notAfter"), "2027-02-30T12:00:00Z"),
    "notAfter in other digits": (("predicate", "notAfter"), "２０27-02-20T12:00:00Z"),
    "notAfter a number": (("predicate", "notAfter"), 4102444800),
    "notAfter with a newline": (("predicate", "notAfter"), "2027-02-20T12:00:00Z\n"),
    "notAfter before": (("predicate", "notAfter"), "2026-11-22T11:59:59Z"),
    "timeVerified gone": (("predicate", "timeVerified"), None),
    "policy gone": (("predicate", "policy"), None),
    "policy digest short": (("predicate", "policy", "digest", "sha256"), "abc"),
    "base without files": (("predicate", "base", "files"), {}),
    "another type": (("_type",), "https://in-toto.io/Statement/v0.1"),
    "provenance (F79)": (("predicateType",), "https://slsa.dev/provenance/v1"),
    "an SBOM (F79)": (("predicateType",), "https://cyclonedx.org/bom"),
    "another major version": (("predicateType",), PREDICATE_TYPE.replace("/v1", "/v2")),
    "a longer version": (("predicateType",), PREDICATE_TYPE + "0"),
    "predicate a list": (("predicate", "runtime"), []),
}


@pytest.mark.parametrize("how", sorted(FORGED))
def test_a_receipt_that_says_something_odd_is_none(case: Case, how: str) -> None:
    (*path, last), value = FORGED[how]

    def forge(content: Any) -> None:
        for step in path:
            content = content[step]
        if value is None:
            del content[last]
        else:
            content[last] = value

    assert case.rewrite(forge) == 34


NAMES = ["../x", "/etc/passwd", "a/../b", "a//b", ".", "", "a\nb", "a\\b", "a\x00b", "a\u202eb", "a/", "./a"]


@pytest.mark.parametrize("name", NAMES)
def test_a_subject_that_is_no_file_of_the_directory_is_refused(case: Case, name: str) -> None:
    assert case.rewrite(lambda c: c["subject"][0].update(name=name)) == 34


def test_a_subject_listed_twice_is_refused(case: Case) -> None:
    assert case.rewrite(lambda c: c["subject"].append(c["subject"][0])) == 34
    answer = case.ask()
    assert "listed twice" in answer.checks[0].text


def test_unknown_fields_are_ignored(case: Case) -> None:
    assert case.rewrite(lambda c: c["predicate"].update(somethingNew={"a": 1}) or c.update(more=[1])) == 0


@pytest.mark.parametrize(("verdict", "outcome"), [("BLOCK", "FAIL"), ("INCONCLUSIVE", "INCONCLUSIVE")])
def test_a_receipt_of_another_verdict_is_valid_and_no_consent(tmp_path: Path, verdict: Any, outcome: Any) -> None:
    from dataclasses import replace

    case = make_case(tmp_path, decision=Decision(verdict, "why"), verdicts=[replace(GATE, outcome=outcome)])
    assert case.code() == 1


def test_block_changed_to_ship_in_an_editor_is_found(tmp_path: Path) -> None:
    """F78 without a forger's knowledge; with it, only a signature helps (next test)."""
    case = make_case(tmp_path, decision=Decision("BLOCK", "tickets::accuracy failed"))
    case.receipt.write_text(case.receipt.read_text().replace('"BLOCK"', '"SHIP"'))
    assert case.code() == 34


def test_a_forger_who_seals_again_is_stopped_by_a_signature_only(tmp_path: Path) -> None:
    """F78: docs/how-to/receipt.md says that a plain receipt is no protection against forging."""
    case = make_case(tmp_path, decision=Decision("BLOCK", "tickets::accuracy failed"))
    _, public = make_keys(tmp_path)
    assert case.rewrite(lambda c: c["predicate"].update(verdict="SHIP")) == 0
    assert case.code(keys=[public]) == 31


ODD_FILES: dict[str, bytes] = {
    "empty": b"",
    "not json": b"SHIP\n",
    "a list": b"[]",
    "null": b"null",
    "utf-16": json.dumps({"predicateType": PREDICATE_TYPE}).encode("utf-16"),
    "not utf-8": b'{"a": "\xff"}',
    "nan": b'{"predicateType": NaN}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "huge number": b'{"a": ' + b"9" * 5000 + b"}",
    "half a surrogate": b'{"predicateType": "\\ud800"}',
}


@pytest.mark.parametrize("kind", sorted(ODD_FILES))
def test_files_that_are_no_receipt(case: Case, kind: str) -> None:
    case.receipt.write_bytes(ODD_FILES[kind])
    assert case.code() == 34


def test_duplicate_keys_are_refused(case: Case) -> None:
    text = case.receipt.read_text()
    case.receipt.write_text(text.replace('"verdict": "SHIP"', '"verdict": "BLOCK",\n    "verdict": "SHIP"'))
    answer = case.ask()
    assert answer.code == 34
    assert "each key once" in answer.checks[0].text


def test_places_that_hold_no_receipt(case: Case, tmp_path: Path) -> None:
    assert case.code(receipt=tmp_path / "nothing.json") == 34
    assert case.code(receipt=tmp_path) == 34
    os.mkfifo(tmp_path / "pipe")
    assert case.code(receipt=tmp_path / "pipe") == 34
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    assert case.code(receipt=tmp_path / "large") == 34


def test_a_byte_order_mark_or_another_layout_is_a_change(case: Case) -> None:
    raw = case.receipt.read_bytes()
    for other in (
        b"\xef\xbb\xbf" + raw,
        raw.replace(b"\n", b"\r\n"),
        raw + b"\n",
        json.dumps(json.loads(raw)).encode(),
    ):
        case.receipt.write_bytes(other)
        assert case.code() == 34


def flips(raw: bytes, masks: tuple[int, ...]) -> Any:
    for place in range(len(raw)):
        for mask in masks:
            yield place, mask, raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]


FEW, ALL = (0x01, 0x20, 0x80), tuple(1 << bit for bit in range(8))


def never_yes(case: Case, masks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, **asked: Any) -> set[int]:
    """The exit codes over all flips of the receipt."""
    current = [b""]
    monkeypatch.setattr(verify, "read_file", lambda _: current[0])
    found = set()
    for place, mask, raw in flips(case.receipt.read_bytes(), masks):
        current[0] = raw
        code = case.code(**asked)
        assert code != 0, f"byte {place} ^ {mask:#x}"
        found.add(code)
    current[0] = case.receipt.read_bytes()
    assert case.code(**asked) == 0
    return found


def test_no_flipped_byte_of_a_plain_receipt_is_believed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert never_yes(case, FEW, monkeypatch) == {34}


def test_no_flipped_byte_of_a_signed_receipt_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private)
    assert never_yes(case, (0x01, 0x20), monkeypatch, keys=[public]) == {31, 34}


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_no_flipped_bit_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool) -> None:
    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private if signed else None)
    never_yes(case, ALL, monkeypatch, **({"keys": [public]} if signed else {}))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_no_flipped_bit_of_the_adapter_is_accepted(case: Case, name: str) -> None:
    path = case.adapter / name
    raw = path.read_bytes()
    for place, mask, changed in flips(raw, ALL):
        path.write_bytes(changed)
        assert case.code() == 30, f"byte {place} ^ {mask:#x}"
    path.write_bytes(raw)
    assert case.code() == 0


KEYS = ["_type", "predicateType", "predicate", "subject", "name", "digest", "sha256", "verdict", "seal", "gates"]
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "SHIP", PREDICATE_TYPE])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_receipt_error_or_a_receipt(raw: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse(raw)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-3, 3)
        | st.text(max_size=5)
        | st.sampled_from(["SHIP", PREDICATE_TYPE]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        max_leaves=20,
    )
)
def test_any_json_is_a_receipt_error(value: Any) -> None:
    with pytest.raises(ReceiptError):
        parse(json.dumps(value).encode())


def test_the_receipt_of_this_version_stays_readable(tmp_path: Path) -> None:
    """A receipt written by 0.1 and kept: later versions have to read it."""
    golden = Path(__file__).parent / "golden" / "receipt-v1.json"
    receipt = parse(golden.read_bytes())
    assert (receipt.verdict, receipt.scope, receipt.base) == ("SHIP", "full", "base")
    assert receipt.time_verified == NOW
    assert re.fullmatch("[0-9a-f]{64}", receipt.policy)
