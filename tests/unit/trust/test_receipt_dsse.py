"""Signed receipts: DSSE envelopes as the specification has them, and key files that say what is wrong with them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from receipts import make_case, make_keys

from pytest_ftgate.trust.receipt import dsse
from pytest_ftgate.trust.receipt.form import PREDICATE_TYPE


def test_pae_is_that_of_the_specification() -> None:
    """The worked example of protocol.md (DSSE v1)."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("ü", "ü".encode()) == b"DSSEv1 2 \xc3\xbc 2 \xc3\xbc"


def test_the_envelope_is_one_that_other_tools_verify(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private)
    envelope = json.loads(case.receipt.read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload)["predicateType"] == PREDICATE_TYPE
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    key: Any = load_pem_public_key(public.read_bytes())
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)


def test_a_signed_receipt_needs_the_right_key(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    _, other = make_keys(tmp_path, "other")
    case = make_case(tmp_path, key=private)
    assert case.code(keys=[public]) == 0
    assert case.code(keys=[other, public]) == 0
    assert case.code(keys=[other]) == 31
    assert case.code() == 31
    case.receipt.write_bytes(base64.b64decode(json.loads(case.receipt.read_text())["payload"]))
    assert case.code() == 0
    assert case.code(keys=[public]) == 31


def test_a_signature_of_another_payload_type_does_not_count(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private)
    envelope = json.loads(case.receipt.read_text())
    key = dsse.load_private(private)
    payload = base64.b64decode(envelope["payload"])
    envelope["signatures"][0]["sig"] = base64.b64encode(key.sign(dsse.pae("text/plain", payload))).decode()
    case.receipt.write_text(json.dumps(envelope, indent=2, sort_keys=True) + "\n")
    assert case.code(keys=[public]) == 31


ENVELOPES: dict[str, Any] = {
    "no signatures": {"signatures": []},
    "signatures no list": {"signatures": None},
    "payload no text": {"payload": 3},
    "payload no base64": {"payload": "%%%"},
    "another payload type": {"payloadType": "application/json"},
    "a field more": {"more": 1},
}


@pytest.mark.parametrize("how", sorted(ENVELOPES))
def test_odd_envelopes(tmp_path: Path, how: str) -> None:
    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private)
    envelope = {**json.loads(case.receipt.read_text()), **ENVELOPES[how]}
    case.receipt.write_text(json.dumps(envelope, indent=2, sort_keys=True) + "\n")
    assert case.code(keys=[public]) == 34


def test_two_signatures_are_not_what_ftgate_writes(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    case = make_case(tmp_path, key=private)
    envelope = json.loads(case.receipt.read_text())
    envelope["signatures"] *= 2
    case.receipt.write_text(json.dumps(envelope, indent=2, sort_keys=True) + "\n")
    assert case.code(keys=[public]) == 34


def test_key_files_that_cannot_be_used_say_what_to_do(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = make_keys(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    other = tmp_path / "ec.key"
    other.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x")))
    for path in (public, other, locked, tmp_path / "none.key", tmp_path):
        with pytest.raises(dsse.KeyFileError, match="Fix:"):
            dsse.load_private(path)
    for path in (private, tmp_path / "none.pub"):
        with pytest.raises(dsse.KeyFileError, match="Fix:"):
            dsse.load_public(path)
