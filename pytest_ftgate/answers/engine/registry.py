"""Which engine answers: a table of those that come with the package, and `pkg.module:factory` for one's own.

A row is imported when it is chosen, so an engine needs no library of another one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pytest_ftgate.answers.engine.protocol import Engine
from pytest_ftgate.errors import EngineError, Unusable
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.files.wording import brief, listed, shown
from pytest_ftgate.model.identity import Candidate

DEFAULT = "hf"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the options say of how to run; an engine takes of it what it has a use for."""

    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    batch_size: int = 64


Factory = Callable[[Candidate, EngineSettings], Engine]


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine that comes with the package."""

    factory: str
    """`module:function`, a Factory; it loads nothing yet."""
    needs: tuple[str, ...]
    """Import names of the libraries without which it cannot run."""
    extra: str
    """The extra of this package that brings them."""


ENGINES: Mapping[str, EngineRow] = {
    "hf": EngineRow(
        "pytest_ftgate.answers.engine.hf:make", ("torch", "transformers", "peft", "safetensors"), extra="hf"
    ),
}


def missing_libraries(name: str) -> str:
    """What an engine that comes with the package lacks, and how to get it, in one sentence. Empty for nothing."""
    row = ENGINES.get(name)
    missing = [library for library in row.needs if find_spec(library) is None] if row else []
    if row is None or not missing:
        return ""
    return f'the engine {name} needs {", ".join(missing)}: pip install "pytest-ftgate[{row.extra}]"'


def check_engine(name: str, *, directory: Path) -> None:
    """Refuse an engine that is not there, before anything is loaded. Raises Unusable.

    Libraries are not looked for: a fixture `ft_engine` may put another engine in its place.
    """
    if name in ENGINES:
        return
    module, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise Unusable(
            f"--ft-engine={brief(name)}: there is no such engine. Fix: write one of {listed(sorted(ENGINES))}, or "
            "pkg.module:factory for one of your own"
        )
    top = module.partition(".")[0]
    with _importable(directory):
        if top not in sys.modules and find_spec(top) is None:
            raise Unusable(f"--ft-engine={brief(name)}: no module {brief(top)} is in {shown(directory)} or installed")


def make_engine(name: str, candidate: Candidate, settings: EngineSettings, *, directory: Path) -> Engine:
    """The engine of that name; a module of one's own is looked for in `directory`, then where Python looks.

    Raises EngineError where it cannot be made.
    """
    if missing := missing_libraries(name):
        raise EngineError(missing, fix="install them, or name an engine of your own: --ft-engine=pkg.module:factory")
    is_own = name not in ENGINES
    module, _, attribute = (name if is_own else ENGINES[name].factory).partition(":")
    try:
        factory = getattr(_module(module, directory) if is_own else importlib.import_module(module), attribute, None)
        if not callable(factory):
            raise EngineError(f"{brief(module)} has no function {brief(attribute)}", fix="correct --ft-engine")
        engine: Engine = factory(candidate, settings)
    except EngineError:
        raise
    except Exception as error:
        if not is_own:
            raise
        found = visible(f"{type(error).__name__}: {error}", limit=200)
        raise EngineError(
            f"--ft-engine={brief(name)} could not be made: {found}", fix="repair the factory, or name another engine"
        ) from error
    lacking = [method for method in ("fingerprint", "generate", "describe") if not callable(getattr(engine, method, 0))]
    if lacking:
        raise EngineError(
            f"--ft-engine={brief(name)} made a {type(engine).__name__}, which has no method {listed(lacking)}",
            fix="an engine has fingerprint, generate and describe: examples/own_engine",
        )
    return engine


def _module(name: str, directory: Path) -> object:
    with _importable(directory):
        return importlib.import_module(name)


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    entry = str(directory.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
