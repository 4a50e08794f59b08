"""Scorers that users write: `pkg.mod:function`, called with (Example, Generation)."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import Example, ScorerSpec
from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import brief, shown
from pytest_ftgate.results import Generation, Score

_EXPLANATION_CHARS = 200
_RETURN = "return a float in [0, 1], a bool or a pytest_ftgate.results.Score"
_FIX = 'write `scorer: "pkg.mod:function"`, importable from the eval set\'s folder or installed'


def function_scorer(path: str, *, base_dir: Path) -> Callable[[Example, Generation], Score]:
    """Scorer from `pkg.mod:function`, which returns a float in [0, 1], a bool or a Score.

    The module is looked for in `base_dir` first. Raises InputError where there is no such function. The scorer raises
    ScoringError for an exception inside it and for a value that is no number in [0, 1]: neither is a wrong answer.
    """
    function = _load(path, base_dir)

    def score(example: Example, generation: Generation) -> Score:
        where = f"scorer {brief(path)} on example {brief(example.id)}"
        try:
            result = function(example, generation)
        except KeyboardInterrupt:
            raise
        except BaseException as err:
            # sys.exit, pytest.skip and pytest.fail are no Exceptions; a function of the user decides no test.
            raise ScoringError(f"{where} failed with {_said(err)}", "repair the function") from err
        return _score(result, where)

    return score


def scorer_source(spec: ScorerSpec) -> str | None:
    """sha256 of the file of a `pkg.mod:function` scorer that is loaded; None for the scorers that come with ftgate."""
    module = sys.modules.get(str(spec.options.get("path", "")).partition(":")[0])
    if spec.kind != "function" or module is None or module.__file__ is None:
        return None
    return file_sha256(Path(module.__file__))


def _said(err: BaseException) -> str:
    """`ValueError: why`; an exception may break where it is shown, too."""
    try:
        text = f"{type(err).__name__}: {err}"
    except Exception:  # noqa: BLE001
        text = type(err).__name__
    return visible(text, limit=_EXPLANATION_CHARS)


def _score(result: object, where: str) -> Score:
    if not isinstance(result, Score):
        return Score(_value(result, where), None, "as the scorer function returned it")
    if not isinstance(result.explanation, str) or not isinstance(result.answer, str | None):
        what = f"{where} returned a Score whose answer or explanation is no text"
        raise ScoringError(what, "write answer as a text or None, and explanation as a text")
    if not isinstance(result.parts, Mapping) or not all(isinstance(name, str) for name in result.parts):
        raise ScoringError(f"{where} returned a Score whose parts are no mapping", "write parts as {name: value}")
    parts = {name: _value(value, where) for name, value in result.parts.items()}
    explanation = visible(result.explanation, limit=_EXPLANATION_CHARS)
    return Score(_value(result.value, where), result.answer, explanation, parts)


def _value(found: object, where: str) -> float:
    """A bool or a number in [0, 1], of numpy or torch too. Raises ScoringError: nothing else is guessed at."""
    try:
        one = found.item() if getattr(found, "ndim", None) == 0 else found  # type: ignore[attr-defined]
        if not isinstance(one, Real):
            raise ScoringError(f"{where} returned a value of type {_type(found)}", _RETURN)
        number: Any = one
        # Compared before it is converted: 10**400 is a number that no float holds.
        if not 0 <= number <= 1 or not 0.0 <= float(number) <= 1.0:
            raise ScoringError(f"{where} returned {brief(number)}", "return finite values in [0, 1]")
        return float(number)
    except ScoringError:
        raise
    except Exception as err:
        what = f"{where} returned a value of type {_type(found)} that is no number: {_said(err)}"
        raise ScoringError(what, _RETURN) from err


def _type(found: object) -> str:
    kind = type(found)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return visible(name, limit=_EXPLANATION_CHARS)


def _load(path: str, base_dir: Path) -> Callable[[Example, Generation], object]:
    name, colon, attribute = path.partition(":")
    if not colon or not attribute.isidentifier() or not all(part.isidentifier() for part in name.split(".")):
        raise _refused(base_dir, f"expected `pkg.mod:function`, found {brief(path)}")
    with _importable(base_dir):
        try:
            module = importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as err:
            raise _refused(base_dir, f"expected an importable module {brief(name)}, but {_said(err)}") from err
    _check_origin(module, name, base_dir)
    function = vars(module).get(attribute)
    if not callable(function):
        raise _refused(base_dir, f"expected a function {brief(attribute)} in {brief(name)}, found none")
    _check_signature(function, path, base_dir)
    loaded: Callable[[Example, Generation], object] = function
    return loaded


def _check_signature(function: Callable[..., object], path: str, base_dir: Path) -> None:
    """Refuse what can never score: it does not take the two arguments, or does not return when it is called."""
    fix = "write `def score(example, generation)` that returns a float in [0, 1], a bool or a pytest_ftgate.Score"
    for kind in (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction):
        if kind(function):
            what = f"expected a plain function, found {brief(path)}, which is async or yields"
            raise _refused(base_dir, what, fix)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # nothing says what a function written in C takes; a call will
    try:
        signature.bind(None, None)
    except TypeError:
        found = visible(str(signature), limit=_EXPLANATION_CHARS)
        what = f"expected a function that is called with (example, generation), found {brief(path)} with {found}"
        raise _refused(base_dir, what, fix) from None


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)


def _check_origin(module: ModuleType, name: str, base_dir: Path) -> None:
    """Two eval sets may each have a scorers.py; Python imports one name once, so one would get the other's scorer."""
    stem = base_dir.resolve().joinpath(*name.split("."))
    own = next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)
    if own and (module.__file__ is None or Path(module.__file__).resolve() != own):
        what = f"expected module {brief(name)} from {shown(own)}, but another file of that name is loaded already"
        raise _refused(base_dir, what, "give the module a name of its own")


def _refused(base_dir: Path, what: str, fix: str = _FIX) -> InputError:
    return InputError([Problem(shown(base_dir), None, "scorer.function", what, fix)])
