"""Decides which stored answers a run may use: those that its policy allows, and that this user stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_ftgate.errors import Unusable
from pytest_ftgate.files.own_key import OwnKey
from pytest_ftgate.files.wording import shown
from pytest_ftgate.trust.attempts.ledger import FOLDER, LEDGER, read_ledger
from pytest_ftgate.trust.policy.gitref import tracked_files
from pytest_ftgate.trust.policy.types import CacheRule

if TYPE_CHECKING:
    from pytest_ftgate.answers.stage import CacheMode

STORE = Path(".ftgate", "cache")
BEGIN = "--ft-begin-ledger"


def cache_mode(
    asked: CacheMode | Literal["auto"], allowed: CacheRule, key: OwnKey, *, verdict_required: bool
) -> tuple[CacheMode, tuple[str, ...]]:
    """Which stored generations are used, and what to say of it. Without a key, none: anybody may have put them there.

    Raises Unusable where more is asked for than a required verdict allows.
    """
    mode = _asked_for(asked, allowed, verdict_required=verdict_required)
    if mode == "off" or key.secret is not None:
        return mode, ()
    return "off", (f"no stored answer is used and none is kept: {key.why}",)


def _asked_for(asked: CacheMode | Literal["auto"], allowed: CacheRule, *, verdict_required: bool) -> CacheMode:
    """Which stored generations are used. A verdict rests on fresh answers of the candidate, whatever was asked."""
    if not verdict_required:
        return "all" if asked == "auto" else asked
    if asked == "auto":
        return allowed
    if asked == "all" or (asked == "base" and allowed == "off"):
        raise Unusable(
            f"--ft-cache={asked} where a verdict is required: the policy allows "
            f"{'stored answers of the base only' if allowed == 'base' else 'no stored answers'}. Fix: leave --ft-cache "
            f"out, or ask for no verdict (--ft-verdict=off)"
        )
    return asked


def refuse_committed_answers(root: Path) -> None:
    """Answers that travel with the project are somebody else's word on what the models say. Raises Unusable."""
    if (root / STORE).exists() and (names := tracked_files(root, STORE)):
        files = "1 file" if len(names) == 1 else f"{len(names)} files"
        raise Unusable(
            f"git tracks {files} in {STORE} ({shown(root / names[0])}): stored answers belong to one user on one "
            f"machine. Fix: git rm -r --cached {STORE}, and add .ftgate/cache to .gitignore"
        )


def check_begins_ledger(root: Path, written: list[str]) -> None:
    """Nobody begins the count of attempts twice, and no configuration file does. Raises Unusable."""
    if BEGIN not in written:
        raise Unusable(f"{BEGIN} stands in a configuration file. Fix: give it once, on the command line")
    if read_ledger(root).declared:
        raise Unusable(f"{BEGIN}: {FOLDER}/{LEDGER} was begun before. Fix: leave the option out")
