"""Where a run's report goes: one row for each option that names a file. Light: a sink is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ftgate.report.run_report import RunReport


@dataclass(frozen=True, slots=True)
class Sink:
    """One kind of file."""

    name: str
    """`json`: the option is `--ft-json`."""
    module: str
    """Below this package; holds `text(RunReport) -> str`."""

    @property
    def option(self) -> str:
        """As the user writes it."""
        return f"--ft-{self.name}"

    def text(self, run: RunReport) -> str:
        """The whole file."""
        text: str = import_module(f"pytest_ftgate.report.{self.module}").text(run)
        return text


SINKS = (Sink("json", "machine"), Sink("html", "files"))
