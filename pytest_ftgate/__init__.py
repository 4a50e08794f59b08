"""Judge a fine-tuned language model: eval sets as pytest gates, SHIP or BLOCK.

The names in `__all__` are the public API; everything else is private. Each is imported when it
is first used, so that `import pytest_ftgate` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ftgate.answers.engine.protocol import Engine, Request
    from pytest_ftgate.evalset.loader import load_evalset
    from pytest_ftgate.evalset.types import Example
    from pytest_ftgate.gates.asserting import (
        assert_accuracy,
        assert_beats_baseline,
        assert_format,
        assert_no_forgetting,
        assert_no_overlap,
    )
    from pytest_ftgate.gates.judge import judge
    from pytest_ftgate.results import Generation, Score
    from pytest_ftgate.scoring.one_answer import score

__version__ = "0.1.0"
__all__ = [
    "Engine",
    "Example",
    "Generation",
    "Request",
    "Score",
    "assert_accuracy",
    "assert_beats_baseline",
    "assert_format",
    "assert_no_forgetting",
    "assert_no_overlap",
    "judge",
    "load_evalset",
    "score",
]

_PLACES = {
    "Engine": "pytest_ftgate.answers.engine.protocol",
    "Example": "pytest_ftgate.evalset.types",
    "Generation": "pytest_ftgate.results",
    "Request": "pytest_ftgate.answers.engine.protocol",
    "Score": "pytest_ftgate.results",
    "assert_accuracy": "pytest_ftgate.gates.asserting",
    "assert_beats_baseline": "pytest_ftgate.gates.asserting",
    "assert_format": "pytest_ftgate.gates.asserting",
    "assert_no_forgetting": "pytest_ftgate.gates.asserting",
    "assert_no_overlap": "pytest_ftgate.gates.asserting",
    "judge": "pytest_ftgate.gates.judge",
    "load_evalset": "pytest_ftgate.evalset.loader",
    "score": "pytest_ftgate.scoring.one_answer",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
