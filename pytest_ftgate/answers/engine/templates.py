"""Which chat template each side is asked with.

Both are asked with the base's, unless ftgate.json holds the digest of the one that the candidate was trained with: a
template beside an adapter can be anybody's, and what it adds to the questions would be taken for what was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ftgate.answers.engine.hf_prompts import template_text
from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files.digests import text_sha256
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.model.identity import Candidate

BASE, OWN, NONE = "the base's", "the candidate's", "none"


def choose(candidate: Candidate, tuned: Any, base: Any) -> Mapping[str, Json]:
    """Give both tokenizers the template that their side is asked with; what was chosen, for the report.

    `tuned` and `base` are tokenizers, one and the same where the candidate brings none. Raises IdentityError where the
    recorded template is not the one that is there, EngineError where a model has several and none is the default.
    """
    bases = _text(base, candidate.base_path.name)
    own = None if tuned is base else _text(tuned, candidate.path.name)
    recorded = None if candidate.manifest is None else candidate.manifest.chat_template_sha256
    if recorded is not None:
        _require_recorded(candidate, recorded, own, bases)
    asked = own if bases is None or (recorded is not None and own is not None) else bases
    # A base without a template is asked in the candidate's, so that both sides see the same words.
    base.chat_template = asked if bases is None else bases
    tuned.chat_template = asked
    whose = NONE if asked is None else BASE if asked == bases else OWN
    return {
        "candidate": whose,
        "base": whose if bases is None else BASE,
        "candidate_sha256": _sha256(asked),
        "base_sha256": _sha256(asked if bases is None else bases),
        "not_used_sha256": None if own == asked else _sha256(own),
    }


def _require_recorded(candidate: Candidate, recorded: str, own: str | None, bases: str | None) -> None:
    there, place = (bases, candidate.base_path) if own is None else (own, candidate.path)
    if recorded != _sha256(there):
        found = "none" if there is None else f"another one (sha256 {text_sha256(there)[:12]}...)"
        raise IdentityError(
            f"ftgate.json records the chat template of the training (sha256 {recorded[:12]}...), found {found} "
            f"in {visible(place.name, limit=80)}",
            fix="restore the template as the trainer left it, or train again with this one",
        )


def _text(tokenizer: Any, owner: str) -> str | None:
    return None if tokenizer.chat_template is None else template_text(tokenizer, owner)


def _sha256(template: str | None) -> str | None:
    return None if template is None else text_sha256(template)
