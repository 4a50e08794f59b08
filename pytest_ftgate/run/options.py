"""Command-line options of the plugin: names, defaults, help that teaches. Knows no pytest: plugin.py registers them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """One `--ft-...` option, as `parser.addoption` wants it."""

    name: str
    help: str
    extra: dict[str, Any] = field(default_factory=dict)


def positive_int(text: str) -> int:
    """A whole number above zero. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


OPTIONS = (
    Option(
        "--ft-model",
        "The fine-tuned model to judge: directory of a PEFT adapter or of a full model. Without it, gates are skipped. "
        "Write it with = when the directory lies outside the project.",
        {"metavar": "DIR"},
    ),
    Option(
        "--ft-base",
        "The base model it was trained on: a directory, or ORG/NAME@<40-hex revision> from the local hub cache. "
        "Default: what ftgate.json beside the adapter records.",
        {"metavar": "DIR"},
    ),
    Option(
        "--ft-verdict",
        "require: exit 0 only for SHIP (BLOCK 1, INCONCLUSIVE 20, NOT_EVALUATED 21, PARTIAL 22). off: no run verdict. "
        "auto (default): require where the environment variable CI is set or a receipt is asked for, else pytest's "
        "own exit codes.",
        {"choices": ("auto", "require", "off"), "default": "auto"},
    ),
    Option(
        "--ft-policy",
        "What the run is held to: required gates, lowest bounds, the base, the runtime (docs/how-to/policy.md). "
        "Default: the nearest ftgate.toml, from where pytest is started and from its root upwards, if there is one.",
        {"metavar": "FILE"},
    ),
    Option(
        "--ft-policy-ref",
        "A git ref, for instance origin/main: wherever policy, gates or bounds there are stricter than here, those "
        "count, and what differs is said. So no change lowers the bar that it is measured by.",
        {"metavar": "REF"},
    ),
    Option(
        "--ft-engine",
        "What generates the answers: hf (default; transformers and peft), or pkg.module:factory for an engine of your "
        "own, called with (candidate, settings) (examples/own_engine).",
        {"default": "hf", "metavar": "NAME"},
    ),
    Option("--ft-device", "Where to run: auto (default; cuda if present), cpu, cuda, cuda:1.", {"default": "auto"}),
    Option(
        "--ft-dtype",
        "Weights in memory: auto (default; bfloat16 on cuda, float32 on cpu), float32, bfloat16, float16.",
        {"choices": ("auto", "float32", "bfloat16", "float16"), "default": "auto"},
    ),
    Option(
        "--ft-quantize",
        "none (default) or nf4 (bitsandbytes 4-bit). Judge the form that ships.",
        {"choices": ("none", "nf4"), "default": "none"},
    ),
    Option(
        "--ft-batch-size",
        "Prompts answered at once (default 64); halved when memory runs out, which the report says.",
        {"type": positive_int, "default": 64, "metavar": "N"},
    ),
    Option(
        "--ft-cache",
        "Which stored generations may be used: all, base, off. auto (default): where a verdict is required, what the "
        "policy allows (base; all is refused there), else all. They lie in .ftgate/cache, keyed by weights, tokens, "
        "settings and versions, and authenticated with a key of yours outside of the project (made on first use); "
        "where there is no such key, as in CI, all is asked afresh and nothing is kept.",
        {"choices": ("auto", "all", "base", "off"), "default": "auto"},
    ),
    Option(
        "--ft-cache-mib",
        "How much .ftgate/cache may hold, in MiB (default 2048); beyond it, the models used longest ago go first, and "
        "never those of this run.",
        {"type": positive_int, "default": 2048, "metavar": "N"},
    ),
    Option(
        "--ft-corroborate",
        "Also ask the models: does the candidate know the references of leaked examples better than those of clean "
        "ones, compared with the base? Advisory; costs one forward pass an example and side.",
        {"action": "store_true"},
    ),
    Option(
        "--ft-receipt",
        "Write a receipt to this file: which bytes were judged, by what, with which verdict. `pytest-ftgate verify` "
        "reads it in the deploy step. The old one goes first, the new one comes last; "
        "a run that judged nothing leaves none.",
        {"metavar": "FILE"},
    ),
    Option(
        "--ft-receipt-days",
        "How long the receipt is valid, in days (default 90).",
        {"type": positive_int, "default": 90, "metavar": "N"},
    ),
    Option(
        "--ft-sign-key",
        "Sign the receipt with this Ed25519 private key (PEM), as a DSSE envelope. To make one: openssl genpkey "
        '-algorithm ed25519 -out ftgate.key. Needs pip install "pytest-ftgate[sign]".',
        {"metavar": "PEM"},
    ),
    Option(
        "--ft-rehash",
        "Read all of the base again to know its digests, also where size, times and inode of its files are as they "
        "were when .ftgate/base-digests.json was written. The candidate is always read.",
        {"action": "store_true"},
    ),
    Option(
        "--ft-all-answers",
        "Ask the candidate every example, for a full report. Without it, an eval set is asked no further once no "
        "remaining example can change what its gates decide; the verdict is the same. Sealed eval sets are always "
        "asked all: where asking ended would tell how many were right.",
        {"action": "store_true"},
    ),
    Option(
        "--ft-judge-hopeless",
        "Judge also gates that cannot pass with so few examples: they could still FAIL (and a forgetting gate pass, "
        "where the model improves on the base). Without it, nothing is generated for them and they are INCONCLUSIVE at "
        "once; `pytest-ftgate plan EVALS` says how many examples are needed.",
        {"action": "store_true"},
    ),
    Option(
        "--ft-limit",
        "Ask at most N examples of each eval set: a quick look. The run verdict is PARTIAL, whatever the gates say. A "
        "look is counted as a look, not as an attempt; a sealed eval set, or one that shares alpha among attempts, "
        "needs --ft-spend-attempt.",
        {"type": positive_int, "metavar": "N"},
    ),
    Option(
        "--ft-case",
        "Ask only these examples, by id or EVALSET:ID (commas between; may be repeated), and show what each side "
        "answered. A look, as --ft-limit; the run verdict is PARTIAL, whatever the gates say.",
        {"action": "append", "default": [], "metavar": "ID[,ID...]"},
    ),
    Option(
        "--ft-spend-attempt",
        "With --ft-limit or --ft-case: look also at eval sets that are sealed or share alpha among attempts. There, a "
        "look is an attempt on the whole set, and has its share of alpha.",
        {"action": "store_true"},
    ),
    Option(
        "--ft-begin-ledger",
        "Begin the ledger of attempts (.ftgate/ledger.jsonl): no model was judged on these examples before. Needed "
        "once, for eval sets that share alpha among attempts; without it, a missing ledger is an error.",
        {"action": "store_true"},
    ),
    Option("--ft-json", "Write the verdict and every number behind it to this file.", {"metavar": "FILE"}),
    Option("--ft-html", "Write a report to read in a browser to this file.", {"metavar": "FILE"}),
)
