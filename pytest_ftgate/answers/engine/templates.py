"""Which chat template each side is asked with.

Both are asked with the base's, unless ftgate.json holds the digest of the one that the candidate was trained with: a
template beside an adapter can be anybody's, and what it adds to the questions would be taken for what was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_ftgate.answers.engine.hf_prompts import template_text
from pytest_ftgate.answers.engine.rendering import TemplateRefused, render
from pytest_ftgate.answers.engine.skeleton import difference
from pytest_ftgate.errors import EngineError, IdentityError
from pytest_ftgate.files.digests import text_sha256
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.model.identity import Candidate

BASE, OWN, NONE = "the base's", "the candidate's", "none"
SHOWN_TURNS = (("system", "Answer in a word."), ("user", "What is asked?"))
"""The conversation on which two templates are shown beside each other: it tells nothing of the data."""


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
        "difference": None if None in (own, bases) or own == bases else _difference(base, str(bases), tuned, str(own)),
    }


def _difference(base: Any, bases: str, tuned: Any, own: str) -> str:
    """What the two templates make of one conversation, where they part."""
    for turns in (SHOWN_TURNS, SHOWN_TURNS[1:]):  # many templates know no system turn
        left, right = _shown(base, bases, turns), _shown(tuned, own, turns)
        if left is not None and right is not None:
            break
    roles = " + ".join(role for role, _ in turns)
    if left is None or right is None:
        whose = " and ".join(name for name, text in ((BASE, left), (OWN, right)) if text is None)
        return f"{whose} cannot be rendered for {roles}"
    if left == right:
        return f"none for {roles}"
    return f"for {roles}: {difference(left, right, (BASE, OWN))}"


def _shown(tokenizer: Any, template: str, turns: Sequence[tuple[str, str]]) -> str | None:
    """None where the template cannot: said with the prompts that are asked, if it is used."""
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return render(template, messages, tokenizer.special_tokens_map, "either side")
    except (TemplateRefused, EngineError):
        return None


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
