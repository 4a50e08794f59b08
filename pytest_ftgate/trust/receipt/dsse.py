"""DSSE envelopes with one Ed25519 signature. `cryptography` is imported when a key is used, never before.

Protocol: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md; envelope: envelope.md beside it. Read more
strictly than that: only the text that `sign` wrote, so that no byte of an envelope can change unseen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ftgate.files.disk import opened
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.trust.receipt.form import PAYLOAD_TYPE, ReceiptError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_KEY_BYTES = 64 * 1024
NEEDS = 'signatures need cryptography: pip install "pytest-ftgate[sign]"'
MAKE = "openssl genpkey -algorithm ed25519 -out ftgate.key"


class KeyFileError(Exception):
    """A key file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One signed payload, not checked yet."""

    payload: bytes
    key_id: str
    """sha256 of the public key (DER), as the signer wrote it: a hint, checked against the key that is trusted."""
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: `DSSEv1 LEN(type) type LEN(body) body`, lengths in bytes (DSSE protocol.md)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def is_envelope(value: Json) -> bool:
    """Whether parsed JSON is meant as an envelope."""
    return isinstance(value, dict) and "payloadType" in value


def read_envelope(raw: bytes, value: Json) -> Envelope:
    """The envelope in the text that `sign` wrote. Raises ReceiptError."""
    wrong = ReceiptError("the envelope is not as ftgate writes it: it was changed, or made by another tool")
    try:
        (signature,) = value["signatures"]
        found = Envelope(
            base64.b64decode(value["payload"], validate=True),
            str(signature["keyid"]),
            base64.b64decode(signature["sig"], validate=True),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise wrong from error
    if _text(found) != raw:
        raise wrong
    return found


def sign(payload: bytes, key_file: Path) -> bytes:
    """The payload in an envelope signed with this private key. Raises KeyFileError."""
    key = load_private(key_file)
    return _text(Envelope(payload, _key_id(key.public_key()), key.sign(pae(PAYLOAD_TYPE, payload))))


def signed_by(envelope: Envelope, keys: Sequence[Ed25519PublicKey]) -> str | None:
    """Key id of the key among these that signed; None where none of them did."""
    from cryptography.exceptions import InvalidSignature

    for key in keys:
        try:
            key.verify(envelope.signature, pae(PAYLOAD_TYPE, envelope.payload))
        except InvalidSignature:
            continue
        if _key_id(key) == envelope.key_id:
            return envelope.key_id
    return None


def load_private(path: Path) -> Ed25519PrivateKey:
    """An unencrypted Ed25519 private key in PEM. Raises KeyFileError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise KeyFileError(NEEDS) from error
    try:
        key = load_pem_private_key(_key_bytes(path), password=None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path.name} is no private key in PEM. Fix: make one with `{MAKE}`") from error
    except TypeError as error:  # how cryptography says that a password is needed
        raise KeyFileError(f"{path.name} is protected by a password. Fix: `openssl pkey -in {path.name}`") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path.name} is no Ed25519 key. Fix: make one with `{MAKE}`")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key in PEM. Raises KeyFileError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise KeyFileError(NEEDS) from error
    try:
        key = load_pem_public_key(_key_bytes(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        fix = "write it with `openssl pkey -in ftgate.key -pubout -out ftgate.pub`"
        raise KeyFileError(f"{path.name} is no public key in PEM. Fix: {fix}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path.name} is no Ed25519 key. Fix: make one with `{MAKE}`")
    return key


def _key_bytes(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.read(MAX_KEY_BYTES)
    except InputError as error:
        raise KeyFileError(str(error)) from None


def _key_id(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _text(envelope: Envelope) -> bytes:
    signature = {"keyid": envelope.key_id, "sig": base64.b64encode(envelope.signature).decode("ascii")}
    payload = base64.b64encode(envelope.payload).decode("ascii")
    content = {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode("ascii")
