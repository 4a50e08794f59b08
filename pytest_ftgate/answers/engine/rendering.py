"""Chat templates rendered in a process of their own, under a limit of time and memory."""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pytest_ftgate.errors import EngineError
from pytest_ftgate.files.json_value import Json

SECONDS = 20.0
"""For one prompt; a template that is not out to harm takes a thousandth."""
START_SECONDS = 120.0
"""Until the process has started, which imports transformers."""


class TemplateRefused(Exception):
    """The template will not take these messages; the message is its own, untrusted."""


class _Process:
    """One child; mutable: it is ended when it does not answer."""

    def __init__(self) -> None:
        # -P: a file of the project must not stand in for a library.
        command = [sys.executable, "-P", "-m", "pytest_ftgate.answers.engine.rendering_process"]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.end)
        self.answer(START_SECONDS)

    def _listen(self) -> None:
        if self._child.stdout is not None:
            for line in self._child.stdout:
                self._lines.put(line)
        self._lines.put("")

    def ask(self, question: Mapping[str, Any]) -> dict[str, str]:
        if self._child.stdin is None or self._child.poll() is not None:
            raise EngineError("the process that renders chat templates is gone", fix="run again")
        try:
            self._child.stdin.write(json.dumps(question, default=str) + "\n")
            self._child.stdin.flush()
        except OSError:  # it died since: memory, or a person
            self.end()
            return {"broken": "the process that renders it died"}
        return self.answer(SECONDS)

    def answer(self, seconds: float) -> dict[str, str]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.end()
            return {"broken": f"no prompt after {seconds:g} seconds"}
        if not line:
            self.end()
            return {"broken": "the process that rendered it died"}
        found: dict[str, str] = json.loads(line)
        return found

    def end(self) -> None:
        """Whatever it is doing. The next prompt gets a new one."""
        atexit.unregister(self.end)
        _process.cache_clear()
        self._child.kill()
        self._child.wait()


@lru_cache(maxsize=1)
def _process(owner: int) -> _Process:
    """One for all templates of a process: each prompt is rendered from what is sent with it.

    `owner` is the process id: a fork has the pipe but not the thread that listens, and needs a child of its own.
    """
    return _Process()


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    special: Mapping[str, Any],
    owner: str,
    *,
    variables: Mapping[str, Json] | None = None,
    generation_prompt: bool = True,
) -> str:
    """The prompt as transformers renders it, ready for the answer; the date is the same in all of them.

    `special` are the special tokens that the template may name, `variables` what else it is given. Raises
    TemplateRefused, and EngineError for a template of `owner` that took too long or too much, or gave no text.
    """
    question = {
        "template": template,
        "messages": list(messages),
        "variables": {**(variables or {}), **special},
        "generation_prompt": generation_prompt,
    }
    answer = _process(os.getpid()).ask(question)
    if "refused" in answer:
        raise TemplateRefused(answer["refused"])
    if "text" not in answer:
        raise EngineError(
            f"the chat template of {owner} could not be rendered: {answer.get('broken', 'no answer')}",
            fix="read chat_template.jinja: a template that loops or grows without bound is a defect, or an attack",
        )
    return answer["text"]
