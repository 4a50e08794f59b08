"""The process that renders chat templates: one JSON object a line in, one out. Started by `rendering`.

A template is a program out of a model's folder. transformers keeps it from files and from Python's insides, but not
from running for ever or from filling the memory; a process of its own can be ended, and held to a size.
"""

from __future__ import annotations

import json
import sys
from typing import Any

BYTES = 4 * 2**30
"""Address space of the process, where the system can limit it."""
CHARACTERS = 10_000_000
"""Longest prompt given back."""


def main() -> None:
    """Answer until the other side closes the pipe."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(asked: dict[str, Any]) -> dict[str, str]:
        try:
            (text,), _ = render_jinja_template(
                conversations=[asked["messages"]],
                chat_template=asked["template"],
                add_generation_prompt=True,
                **asked["special"],
            )
        except (TemplateError, TypeError, ValueError) as error:
            return {"refused": str(error)[:1000]}
        except (MemoryError, RecursionError, OverflowError, ArithmeticError, LookupError, AttributeError) as error:
            return {"broken": type(error).__name__}
        return {"text": text} if len(text) <= CHARACTERS else {"broken": f"a prompt of {len(text)} characters"}

    _hold_to_size()
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(render(json.loads(line))), flush=True)


def _hold_to_size() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit: there, time alone ends it
        return
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


if __name__ == "__main__":
    main()
