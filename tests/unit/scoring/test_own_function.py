"""What a function of the user may return, and that everything else is an error that names it: never a zero."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from answered import example, said

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.results import Score
from pytest_ftgate.scoring.scorers import make_scorer

MODULE = """
import sys
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
import numpy as np
import pytest
from pytest_ftgate.results import Score as Ours

class Loud(Exception):
    def __str__(self): raise RuntimeError("no text")
class Odd(float):
    def __float__(self): raise RuntimeError("no number")
    def __le__(self, other): raise RuntimeError("no order")
    __ge__ = __lt__ = __gt__ = __le__
class Unseen:
    def __repr__(self): raise RuntimeError("no repr")
@dataclass
class Score:
    value: float = 1.0
    answer: str = ""
    explanation: str = ""
def call(f): return lambda example, generation: f()
def leave(): sys.exit(0)
def loud(): raise Loud
def skip(): pytest.skip("not today")
def fail(): pytest.fail("no")
def stop(): pytest.exit("all of it", returncode=0)
def deep(): return deep()
def memory(): raise MemoryError
def gone(): raise GeneratorExit
def surrogate(): raise ValueError("\\ud800")

GOOD = {"true": True, "false": False, "one": 1, "half": 0.5, "fraction": Fraction(1, 4), "f32": np.float32(0.5),
        "f64": np.float64(1.0), "i8": np.int8(1), "npbool": np.bool_(True), "array0": np.array(0.25),
        "score": Ours(np.float32(0.5), None, "why"), "minus": -0.0}
BAD = {"huge": 10**400, "huger": 10**5000, "negative": -10**400, "nan": float("nan"), "inf": float("inf"),
       "minusinf": float("-inf"), "over": 1.0000001, "text": "0.5", "empty": "", "none": None, "list": [1.0],
       "complex": 1j, "decimal": Decimal("0.5"), "array1": np.array([0.5]), "npnan": np.float64("nan"),
       "npint": np.int64(7), "other": Score(), "odd": Odd(0.5), "unseen": Unseen(), "type": float, "bytes": b"1",
       "text_value": Ours("0.5", None, ""), "none_value": Ours(None, None, ""), "huge_value": Ours(10**400, None, ""),
       "number_answer": Ours(1.0, 7, ""), "no_words": Ours(1.0, None, None), "no_parts": Ours(1.0, None, "", None),
       "part_text": Ours(1.0, None, "", {"a": "1"}), "part_key": Ours(1.0, None, "", {1: 1.0}),
       "part_huge": Ours(1.0, None, "", {"a": 10**400}), "array_text": np.array("1")}
globals().update({name: call(lambda v=value: v) for name, value in {**GOOD, **BAD}.items()})
RAISES = ["leave", "loud", "skip", "fail", "stop", "deep", "memory", "gone", "surrogate"]
globals().update({name: call(globals()[name]) for name in RAISES})
"""
ONES, HALVES = ("true", "one", "f64", "i8", "npbool"), ("half", "f32", "score")
GOOD = {
    "false": 0.0,
    "minus": 0.0,
    "fraction": 0.25,
    "array0": 0.25,
    **dict.fromkeys(ONES, 1.0),
    **dict.fromkeys(HALVES, 0.5),
}
BAD = [
    *("huge", "huger", "negative", "nan", "inf", "minusinf", "over", "text", "empty", "none", "list", "complex"),
    *("decimal", "array1", "npnan", "npint", "other", "odd", "unseen", "type", "bytes", "text_value", "none_value"),
    *("huge_value", "number_answer", "no_words", "no_parts", "part_text", "part_key", "part_huge", "array_text"),
]
RAISES = ["leave", "loud", "skip", "fail", "stop", "deep", "memory", "gone", "surrogate"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Score]:
    folder = tmp_path_factory.mktemp("scorers")
    (folder / "ftgate_own_scorers.py").write_text(MODULE)

    def call(name: str) -> Score:
        scorer = make_scorer(ScorerSpec("function", {"path": f"ftgate_own_scorers:{name}"}), base_dir=folder)
        return scorer(example(1), said("yes"))

    return call


@pytest.mark.parametrize("name", GOOD)
def test_x5_numbers_of_every_make_count(run: Callable[[str], Score], name: str) -> None:
    found = run(name)
    assert (found.value, type(found.value)) == (GOOD[name], float)


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("name", BAD + RAISES)
def test_x5_anything_else_is_an_error_that_names_scorer_and_example(run: Callable[[str], Score], name: str) -> None:
    with pytest.raises(
        ScoringError, match=f"^scorer 'ftgate_own_scorers:{name}' on example 'e1' (returned|failed)"
    ) as e:
        run(name)
    assert e.value.fix
    assert len(str(e.value)) < 600
    str(e.value).encode()


def test_x5_a_score_of_another_class_is_named(run: Callable[[str], Score]) -> None:
    with pytest.raises(
        ScoringError, match=r"a value of type ftgate_own_scorers\.Score\. Fix: .*pytest_ftgate\.results\.Score"
    ):
        run("other")


@pytest.mark.parametrize(
    "body", ["import sys; sys.exit(0)", "import pytest; pytest.skip('x', allow_module_level=True)"]
)
def test_x5_a_module_that_leaves_when_imported_is_refused(tmp_path: Path, body: str) -> None:
    name = f"ftgate_leaves_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    with pytest.raises(InputError, match="expected an importable module"):
        make_scorer(ScorerSpec("function", {"path": f"{name}:f"}), base_dir=tmp_path)
    assert name not in sys.modules


def test_ctrl_c_in_a_scorer_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "ftgate_ctrl_c.py").write_text("def f(example, generation): raise KeyboardInterrupt\n")
    scorer = make_scorer(ScorerSpec("function", {"path": "ftgate_ctrl_c:f"}), base_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        scorer(example(1), said("yes"))
