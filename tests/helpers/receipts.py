"""A small candidate directory and a receipt for it, made by the code that a run uses, without a run."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Here and not where it is used: a pytest run in this process forgets it at its end, and two of it do not mix.
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.model.unchanged import take
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.types import PolicyInForce
from pytest_ftgate.trust.receipt.form import render
from pytest_ftgate.trust.receipt.statement import Judged, statement
from pytest_ftgate.trust.receipt.verify import Answer, Request, verify
from pytest_ftgate.trust.receipt.writing import Draft, ReceiptSettings

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
GATE = Verdict("tickets::accuracy", "accuracy", "PASS", "all right", "", 60, 0.95, (0.9, 0.99), 0.85, 0.01)
SHIP = Decision("SHIP", "the only gate passed")
POLICY = PolicyInForce(digest="5" * 64)
ENGINE = {"device": "cpu", "dtype": "float32", "quantize": "none", "batch_size": 64, "effect": 0.5}


def make_candidate(folder: Path) -> Candidate:
    """An adapter directory and a base: few bytes, real file formats."""
    base, adapter = folder / "base", folder / "run1"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    (base / "model.safetensors").write_bytes(weights("model.embed.weight"))
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}, indent=2))
    (adapter / "adapter_model.safetensors").write_bytes(weights("base_model.model.q_proj.lora_B.weight"))
    (adapter / "README.md").write_text("a model card may be edited")
    return Candidate(adapter, "adapter", base, None, False)


def weights(name: str) -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(16))


def judged(candidate: Candidate, **changes: Any) -> Judged:
    made = Judged(
        decision=SHIP,
        scope="full",
        candidate=candidate,
        files=take(candidate),
        verdicts=[GATE],
        engine=ENGINE,
        stage=None,
        evalsets={"tickets": {"digest": {"sha256": "1" * 64}, "n": 60, "distinct": 60}},
        policy=POLICY,
        policy_file=None,
        results=None,
        at=NOW,
        days=90,
    )
    return replace(made, **changes)


@dataclass(frozen=True)
class Case:
    """A candidate, its base and its receipt on disk."""

    candidate: Candidate
    receipt: Path

    @property
    def adapter(self) -> Path:
        return self.candidate.path

    def ask(self, **changes: Any) -> Answer:
        return verify(replace(Request(self.adapter, self.receipt, NOW), **changes))

    def code(self, **changes: Any) -> int:
        return self.ask(**changes).code

    def rewrite(self, change: Callable[[dict[str, Any]], object], **asked: Any) -> int:
        """The exit code after a forger changed the statement and sealed it again."""
        content = json.loads(self.receipt.read_text())
        change(content)
        content["predicate"].pop("seal", None)
        self.receipt.write_bytes(render(content))
        return self.code(**asked)


def make_case(
    folder: Path, *, key: Path | None = None, environ: Mapping[str, str] | None = None, **changes: Any
) -> Case:
    candidate = make_candidate(folder)
    settings = ReceiptSettings(folder / "receipt.json", 90, key)
    Draft(settings, render(statement(judged(candidate, **changes), environ or {}))).publish()
    return Case(candidate, settings.path)


def make_keys(folder: Path, name: str = "ftgate") -> tuple[Path, Path]:
    """(private, public) Ed25519 key files, as openssl writes them."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public
