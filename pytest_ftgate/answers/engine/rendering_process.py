"""The process that renders chat templates: one JSON object a line in, one out. Started by `rendering`.

A template is a program out of a model's folder. transformers keeps it from files and from Python's insides, but not
from running for ever or from filling the memory; a process of its own can be ended, and held to a size.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, tzinfo
from typing import Any

BYTES = 4 * 2**30
"""Address space of the process, where the system can limit it."""
CHARACTERS = 10_000_000
"""Longest prompt given back."""


NOW = datetime(2024, 7, 26)
"""The date that templates are told: prompts of two sides, and of two runs, must not differ by the day."""


def main() -> None:
    """Answer until the other side closes the pipe."""
    from jinja2 import TemplateError
    from transformers.utils import chat_template_utils

    # This process renders and does nothing else: the clock is that of `strftime_now` in templates.
    setattr(chat_template_utils, "datetime", _Standing)  # noqa: B010

    def render(asked: dict[str, Any]) -> dict[str, str]:
        try:
            (text,), _ = chat_template_utils.render_jinja_template(
                conversations=[asked["messages"]],
                chat_template=asked["template"],
                add_generation_prompt=asked["generation_prompt"],
                **asked["variables"],
            )
        except (TemplateError, TypeError, ValueError) as error:
            return {"refused": str(error)[:1000]}
        except Exception as error:  # noqa: BLE001 - whatever a program out of a model's folder can raise
            return {"broken": type(error).__name__}
        return _checked(text)

    _hold_to_size()
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(render(json.loads(line))), flush=True)


class _Standing(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return NOW


def _checked(text: Any) -> dict[str, str]:
    if not isinstance(text, str):
        return {"broken": f"it gave {type(text).__name__}, no text"}
    if len(text) > CHARACTERS:
        return {"broken": f"a prompt of {len(text)} characters"}
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return {"broken": f"its text holds half a character (surrogate U+{ord(text[error.start]):04X})"}
    return {"text": text}


def _hold_to_size() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit: there, time alone ends it
        return
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


if __name__ == "__main__":
    main()
