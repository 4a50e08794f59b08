"""Progress of a run in one line: steps, epoch, loss, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

EVERY_SECONDS = 15.0


@dataclass(slots=True)
class ProgressLine:
    """Writes a line every few seconds, or rewrites one line on a terminal."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    first: tuple[int, float] | None = None
    """Step and time of the first update: later steps are timed from here, so start-up is not counted."""
    last: float = float("-inf")

    def update(self, step: int, steps: int, *, epoch: float, loss: float | None, final: bool = False) -> None:
        """Called after every step; writes only when it is time, or `final`."""
        now = self.clock()
        self.first = self.first or (step, now)
        live = self.stream.isatty()
        if not final and now - self.last < (0.2 if live else EVERY_SECONDS):
            return
        self.last = now
        text = self._text(step, steps, epoch, loss, now)
        end = "" if live and not final else "\n"
        self.stream.write((f"\r\x1b[K{text}" if live else text) + end)
        self.stream.flush()

    def _text(self, step: int, steps: int, epoch: float, loss: float | None, now: float) -> str:
        first_step, since = self.first or (step, now)
        text = f"step {step}/{steps} · epoch {epoch:.2f}"
        text += "" if loss is None else f" · loss {loss:.4f}"
        if first_step < step < steps:
            text += f" · {_duration((now - since) / (step - first_step) * (steps - step))} left"
        elif step == steps:
            text += f" · {_duration(now - since)}"
        return text


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def progress_callback(line: ProgressLine) -> Any:
    """A transformers callback that feeds `line` on the first process."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]  # mypy sees no types of transformers
        loss: float | None = None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self.loss = (logs or {}).get("loss", self.loss)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == state.max_steps:
                control.should_log = True  # else the last steps would be in no log
            if state.is_world_process_zero:
                line.update(state.global_step, state.max_steps, epoch=state.epoch or 0.0, loss=self.loss)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                line.update(state.global_step, state.max_steps, epoch=state.epoch or 0.0, loss=self.loss, final=True)

    return Callback()
