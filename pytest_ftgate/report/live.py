"""Progress of the stage while pytest captures output: through pytest's own reporter, which is never replaced."""

from __future__ import annotations

import time
from typing import Any

from pytest_ftgate.answers.stage import Progress
from pytest_ftgate.report.progress import progress_line


class LiveProgress:
    """Progress of the stage under pytest's capture: one line rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, config: Any) -> None:
        plugins = config.pluginmanager
        self._reporter: Any = plugins.get_plugin("terminalreporter")
        self._capture: Any = plugins.get_plugin("capturemanager")
        self._quiet = self._reporter is None or config.option.verbose < 0  # -p no:terminal has no such option
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        last, now = progress.done == progress.total, time.monotonic()
        live = self._reporter.isatty
        if now < self._next and not (last and live):
            return
        self._next = now + (0.2 if live else 10.0)
        with self._capture.global_and_fixture_disabled():
            if live:
                self._reporter.rewrite(progress_line(progress), erase=True)
                if last:
                    self._reporter.rewrite("", erase=True)
            elif progress.done:
                self._reporter.ensure_newline()
                self._reporter.write_line(progress_line(progress))
