"""False greens of cache, baselines, policy and receipts: nothing old, foreign or changed is believed (F66 to F79)."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from falsegreens import OUTPUTS, RECEIPT, Row, check, conftest, edit, replace, together
from gateproject import Project
from test_false_greens_process import bad
from tinymodel import BASELINES, make_adapter, make_base, record, write_evalset

from pytest_ftgate.commands.verify import main

NONE_STORED = "base: 180 generated, 0 from the store"


def judged_before(project: Project) -> None:
    """A run that shipped, and whose answers of both sides are kept."""
    run = project.run("--ft-model=runs/good", "--ft-cache=all", "evals")
    assert run.code == 0, run.out
    assert "base: 180 generated, 0 from the store; candidate: 120 generated, 0 from the store" in run.out


def another_base(project: Project) -> None:
    """Under the same name, in the same place, and the adapter trained on it."""
    for name in ("base", "runs/good"):
        shutil.rmtree(project.root / name)
    base = make_base(project.root / "base", seed=5)
    record(make_adapter(base, project.root / "runs" / "good"), base)


def prompt_edited(project: Project) -> None:
    replace(project.root / "evals" / "general.eval.yaml", '"Answer."', '"Answer this at once."')


def target(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: replace(project.root / "evals" / "target.eval.yaml", old, new)


def other_references(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    found = [{**json.loads(line), "target": "never said"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def poisoned(project: Project, texts: Sequence[str]) -> None:
    """Stored answers that are one of `texts` become another one, with the checksums that anybody can make."""
    changed = 0
    for path in (project.root / ".ftgate" / "cache").rglob("*.jsonl"):
        lines = []
        for line in path.read_text().splitlines():
            key, value = json.loads(line.partition(" ")[2])
            if value["text"].strip() in texts:
                value["text"], changed = "anything", changed + 1
            body = json.dumps([key, value], separators=(",", ":"))
            lines.append(f"{hashlib.sha256(f'{path.stem} {body}'.encode()).hexdigest()} {body}\n")
        path.write_text("".join(lines))
    assert changed > 30


def stored_answers_changed(project: Project) -> None:
    poisoned(project, project.world.texts["candidate"])


def policy(text: str) -> Callable[[Project], None]:
    return lambda project: project.write("ftgate.toml", f"version = 1\n{text}\n") and None


def two_folders(project: Project) -> None:
    (project.root / "more").mkdir()
    for path in sorted((project.root / "evals").glob("general.*")):
        path.rename(project.root / "more" / path.name)


def beaten_before(project: Project) -> None:
    """The base answers as well as the candidate; stored answers of the base that any candidate beats."""
    texts = project.world.texts
    rungs = ("candidate", "baseline:zero_shot", "baseline:few_shot")
    targets = [list(dict.fromkeys(row)) for row in zip(*(texts[name] for name in rungs), strict=True)]
    write_evalset(project.root / "even", "even", "beats_baseline: {min_gain: 0.05}", targets, baselines=BASELINES)
    assert project.run("--ft-model=runs/good", "--ft-cache=all", "even").code == 1
    poisoned(project, [*texts[rungs[1]], *texts[rungs[2]]])
    assert project.run("--ft-model=runs/good", "even", "--ft-verdict=require").code == 20  # they are asked again


NEW_VERSION = """
from pytest_ftgate.answers.engine import hf
real = hf.version
patch.setattr(hf, "version", lambda name: real(name) + ".post1")
"""

ROWS = [
    Row(
        "f66_stored_answers_of_another_model",
        "BLOCK",
        "failed",
        together(judged_before, another_base),
        also=[NONE_STORED],
    ),
    Row(
        "f68_references_edited",
        "BLOCK",
        "target::accuracy",
        together(judged_before, other_references),
        also=["base: 0 generated, 180 from the store"],
    ),
    Row(
        "f68_prompt_edited",
        "NOT_EVALUATED",
        "general::forgetting",
        together(judged_before, prompt_edited),
        also=["base: 60 generated, 120 from the store"],
    ),
    Row(
        "f69_another_version",
        "SHIP",
        "all 4 gates passed",
        together(judged_before, conftest(NEW_VERSION)),
        also=[NONE_STORED],
    ),
    Row(
        "f70_poisoned_answers_of_the_candidate",
        "SHIP",
        "all 4 gates passed",
        together(judged_before, stored_answers_changed),
        also=["candidate: 120 generated, 0 from the store"],
    ),
    Row(
        "f70_poisoned_answers_of_the_base",
        "INCONCLUSIVE",
        "even::beats_baseline",
        together(beaten_before, policy('[policy]\ncache = "off"')),
        args=("even",),
        also=["base: 120 generated, 0 from the store"],
    ),
    Row("f8_fewer_examples_than_the_policy_asks_for", "INCONCLUSIVE", "could not", policy("[policy]\nmin_n = 61")),
    Row(
        "f11_a_shard_by_directory",
        "PARTIAL",
        "general",
        together(two_folders, policy('[policy]\nevalsets = ["evals/target.eval.yaml", "more/general.eval.yaml"]')),
    ),
    Row("f36_a_base_that_the_policy_does_not_name", None, "base", policy('[base]\nid = "other/model"')),
    Row("f47_another_dtype_than_is_deployed", "NOT_EVALUATED", "bfloat16", policy('[runtime]\ndtype = ["bfloat16"]')),
    Row("f48_another_device_than_the_policy_expects", "NOT_EVALUATED", "cuda", policy('[runtime]\ndevice = ["cuda"]')),
    Row(
        "f63_a_kind_of_gate_that_is_required_before",
        "NOT_EVALUATED",
        "overlap",
        policy('[policy]\nrequired = ["overlap"]'),
    ),
    Row(
        "f75_a_misspelt_rule_of_the_policy",
        None,
        "requird",
        policy('[policy]\nrequird = ["overlap"]'),
        also=["required"],
    ),
    Row("f75_a_rule_that_nothing_evaluated", "NOT_EVALUATED", "overlap", policy("[policy.ceilings]\noverlap = 0")),
    Row(
        "f74_a_duplicate_key",
        None,
        "accuracy",
        target("accuracy: {min: 0.5}", "accuracy: {min: 0.5}\n  accuracy: {min: 0.1}"),
    ),
    Row("f74_a_merge_key", None, "<<", target("accuracy: {min: 0.5}", "<<: {accuracy: {min: 0.1}}")),
    Row("f75_a_misspelt_bound", None, "mim", target("{min: 0.5}", "{mim: 0.5}"), also=["min"]),
    Row("f75_a_misspelt_gate", None, "acuracy", target("accuracy:", "acuracy:"), also=["accuracy"]),
    Row("f75_a_misspelt_option", None, "unrecognized arguments", args=("evals", "--ft-recept=r.json")),
]


# -- the question of a deploy step -------------------------------------------------------------------------------------


def shipped(project: Project) -> None:
    check(project.run("--ft-model=runs/good", *OUTPUTS, "evals"), "SHIP")


def asked(project: Project, *options: str, adapter: str = "runs/good") -> int:
    return main([str(project.root / adapter), "--receipt", str(project.root / RECEIPT), *options])


def test_f40_f77_a_receipt_of_other_bytes(project: Project) -> None:
    shipped(project)
    assert asked(project) == 0
    merged = project.root / "merged"
    shutil.copytree(project.root / "base", merged)
    other = make_adapter(project.root / "base", project.root / "other", seed=5)
    extended = project.root / "extended"
    shutil.copytree(project.root / "runs" / "good", extended)
    (extended / "adapter_model.bin").write_bytes(b"what another loader would take")
    assert {asked(project, adapter=folder.name) for folder in (merged, other, extended)} == {30}
    edit(project.root / "runs" / "good" / "adapter_config.json", lora_alpha=9)
    assert asked(project) == 30


def test_f47_the_form_that_is_served(project: Project) -> None:
    shipped(project)
    assert asked(project, "--runtime=dtype=float32,quantize=none") == 0
    assert asked(project, "--runtime=dtype=float32,quantize=nf4") == 30
    assert asked(project, "--base", str(project.root / "base")) == 0
    make_base(project.root / "other", seed=7)
    assert asked(project, "--base", str(project.root / "other")) == 30


def test_f71_a_result_of_another_base_or_eval_set_is_no_baseline(project: Project) -> None:
    """There are no committed baselines: every run asks the base itself. What stands in a receipt names its digests."""
    shipped(project)
    before = json.loads((project.root / RECEIPT).read_text())["predicate"]
    path = project.root / "evals" / "target.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    shipped(project)
    after = json.loads((project.root / RECEIPT).read_text())["predicate"]
    digests = [{e["name"]: e["digest"] for e in found["evalsets"]} for found in (before, after)]
    assert digests[0]["target"] != digests[1]["target"]
    assert digests[0]["general"] == digests[1]["general"]


def test_f73_a_policy_that_was_not_approved(project: Project) -> None:
    """Bounds lowered in the same change: see also test_policy_run.py, where --ft-policy-ref holds them."""
    shipped(project)
    digest = json.loads((project.root / RECEIPT).read_text())["predicate"]["policy"]["digest"]["sha256"]
    assert asked(project, "--policy-digest", digest) == 0
    target("accuracy: {min: 0.5}", "accuracy: {min: 0.1}")(project)
    shipped(project)
    assert asked(project, "--policy-digest", digest) == 32


def test_f78_an_edited_receipt(project: Project, tmp_path: Path) -> None:
    """An unsigned one is no protection from whoever can write it, and the docs say so; a signed one is."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    bad("accuracy_fail")(project)
    run = project.run("--ft-model=runs/good", *OUTPUTS, "some", f"--ft-sign-key={private}")
    assert run.code == 1, run.out
    assert asked(project, "--key", str(public)) == 1
    path = project.root / RECEIPT
    old = json.loads(path.read_text())["payload"]
    said = base64.b64decode(old)
    assert b"BLOCK" in said
    path.write_text(path.read_text().replace(old, base64.b64encode(said.replace(b"BLOCK", b"SHIP")).decode()))
    assert asked(project, "--key", str(public)) == 31


def test_f79_a_statement_of_another_kind(project: Project) -> None:
    shipped(project)
    edit(project.root / RECEIPT, predicateType="https://slsa.dev/provenance/v1")
    assert asked(project) == 34
