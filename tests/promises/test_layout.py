"""The rules of the house that no linter checks: who imports whom, what a plain pytest run pays, how long files are."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("training", "pytest_ftgate")
FLOORS = (
    ("errors", "results", "stats"),
    ("files",),
    ("model", "evalset"),
    ("rows", "scoring", "answers"),
    ("gates", "training"),
    ("trust",),
    ("report",),
    ("run",),
    ("commands", "plugin"),
    ("cli",),
    ("__main__",),
)
"""The rooms from the ground up. A room imports from lower floors only; what shares a floor does not know each other."""
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
FOR_ALL = "__init__"
"""What `pytest_ftgate` itself holds (its version) may be imported by all."""
ALLOWED = {("pytest_ftgate/commands/train.py", "training"), ("pytest_ftgate/__init__.py", "")}
MOST_LOOSE_FILES = 6
MOST_HIDDEN_IMPORTS = 25
"""First-party imports inside functions, and all uses of Late and import_module: only where something heavy hides."""
HEAVY = (
    *("torch", "transformers", "peft", "trl", "datasets", "sklearn", "accelerate", "bitsandbytes", "safetensors"),
    *("sacrebleu", "matplotlib", "cryptography"),
)
MOST_LINES = 400


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(first part of the module, line, whether at module level and run at import)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types_only(outer)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], node.lineno, id(node) not in inside
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0], node.lineno, id(node) not in inside


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_there_is_something_to_check() -> None:
    assert all(len(sources(package)) > 5 for package in PACKAGES)


def rooms_imported(tree: ast.AST) -> Iterator[tuple[str, ast.ImportFrom]]:
    """(room, import) of each import of this project's; a room is the first part below the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.startswith(("pytest_ftgate.", "training"))]
            assert not ours, f"write `from ... import`: {ours}"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            top, _, below = node.module.partition(".")
            for alias in node.names:
                inner = below.split(".")[0] or (alias.name if alias.name in LEVEL else FOR_ALL)
                yield "training" if top == "training" else inner, node


def named_imports(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(module, call) of each module that is imported by its name, or what that begins with where it is put together."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("Late", "import_module"):
                given = node.args[0]
                first = given.values[0] if isinstance(given, ast.JoinedStr) else given
                yield str(first.value) if isinstance(first, ast.Constant) else "", node


def rooms_named(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(room, call) of each module of this project's that is imported by its name, as far as the source says it."""
    for module, node in named_imports(tree):
        top, _, below = module.partition(".")
        if top == "training" or (top in PACKAGES and below):
            yield "training" if top == "training" else below.split(".")[0], node


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "training" if parts[0] == "training" else parts[1]


def wrong_ways(path: Path, tree: ast.AST) -> list[str]:
    here = room_of(path)
    return [
        f"{name(path)}:{node.lineno} in {here} imports {room}"
        for room, node in (*rooms_imported(tree), *rooms_named(tree))
        if room not in (here, FOR_ALL) and LEVEL[room] >= LEVEL[here]
    ]


def test_the_rooms_have_one_direction() -> None:
    files = [path for path in sources(*PACKAGES) if name(path) != "pytest_ftgate/__init__.py"]
    assert {room_of(path) for path in files} == set(LEVEL)
    assert [wrong for path in files for wrong in wrong_ways(path, ast.parse(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("pytest_ftgate/stats/paired.py", "from pytest_ftgate.files.disk import write_text"),
        ("pytest_ftgate/model/identity.py", "from pytest_ftgate.evalset.types import EvalSet"),
        ("pytest_ftgate/gates/paired.py", "def f():\n    from pytest_ftgate import report"),
        ("pytest_ftgate/model/identity.py", 'judged = Late("pytest_ftgate.run.judged")'),
        ("pytest_ftgate/model/identity.py", 'importlib.import_module(f"pytest_ftgate.report.{name}")'),
        ("training/train.py", "from pytest_ftgate.trust.policy.types import Policy"),
    ],
)
def test_the_check_of_the_direction_sees_an_import_back_up(file: str, line: str) -> None:
    assert len(wrong_ways(ROOT / file, ast.parse(line))) == 1


def test_few_files_lie_outside_a_room() -> None:
    loose = [path.name for path in (ROOT / "pytest_ftgate").glob("*.py")]
    assert len(loose) <= MOST_LOOSE_FILES, loose


def test_imports_inside_functions_are_few() -> None:
    hidden = 0
    for path in sources(*PACKAGES):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        hidden += len({node.lineno for _, node in rooms_imported(tree) if id(node) in inside})
        hidden += len(list(named_imports(tree)))
    assert hidden <= MOST_HIDDEN_IMPORTS


def test_late_is_used_only_where_something_heavy_hides() -> None:
    """The plugin's own is held by the test of what a plain pytest run pays."""
    used = {
        module
        for path in sources(*PACKAGES)
        for module, node in named_imports(ast.parse(path.read_text(encoding="utf-8")))
        if ast.unparse(node.func) == "Late" and name(path) != "pytest_ftgate/plugin.py"
    }
    assert used, "Late can go"
    assert [module for module in sorted(used) if "numpy" not in modules_after(f"import {module}")] == []


def setters(path: Path, attribute: str) -> list[str]:
    """`file:method` of each assignment to an attribute of this name, but for those of None."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f"{name(path)}:{f.name}" for f in functions for node in ast.walk(f) if _sets(node, attribute)]


def _sets(node: ast.AST, attribute: str) -> bool:
    if (
        isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and node.value.value is None
    ):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    parts = [part for target in targets if isinstance(target, ast.AST) for part in ast.walk(target)]
    return any(isinstance(part, ast.Attribute) and part.attr == attribute for part in parts)


def test_one_method_sets_the_run_verdict() -> None:
    """It makes the report anew and writes every file again: a verdict set elsewhere would be said by some of them."""
    found = [setter for path in sources(*PACKAGES) for setter in setters(path, "_decision")]
    assert found == ["pytest_ftgate/run/controller.py:_change"]


def test_only_the_plugin_knows_pytest() -> None:
    wrong = [
        f"{name(path)}:{line}"
        for path in sources(*PACKAGES)
        for module, line, _ in imports(path)
        if module in ("pytest", "_pytest", "xdist") and name(path) != "pytest_ftgate/plugin.py"
    ]
    assert wrong == []


def test_torch_stays_in_its_rooms() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in sources("pytest_ftgate")
        for module, line, _ in imports(path)
        if module in ("torch", "transformers", "peft", "accelerate", "bitsandbytes") and path.parent.name != "engine"
    ]
    assert wrong == []


def test_heavy_libraries_are_imported_where_they_are_needed() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in sources(*PACKAGES)
        for module, line, at_import in imports(path)
        if module in HEAVY and at_import
    ]
    assert wrong == []


def test_the_check_itself_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import torch.nn\nfrom training.data import x\nif TYPE_CHECKING:\n    import peft\ndef f():\n    import trl\n"
    )
    assert list(imports(path)) == [("torch", 1, True), ("training", 2, True), ("peft", 4, False), ("trl", 6, False)]


def modules_after(statement: str) -> set[str]:
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    return set(json.loads(done.stdout))


def test_the_plugin_is_light_at_import() -> None:
    """A pytest11 module is imported in every pytest run of its environment."""
    added = modules_after("import pytest_ftgate.plugin") - modules_after("import pytest")
    ours = {module for module in added if module.split(".")[0] in PACKAGES}
    run = {f"pytest_ftgate.run{name}" for name in ("", ".late", ".options")}
    assert ours == {"pytest_ftgate", "pytest_ftgate.plugin", *run}
    assert {module.split(".")[0] for module in added - ours} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_light_at_import(package: str) -> None:
    every = [name(path)[:-3].replace("/", ".") for path in sources(package) if path.name != "__main__.py"]
    found = modules_after("\n".join(f"import {module.removesuffix('.__init__')}" for module in every))
    assert not set(HEAVY) & found


def test_the_garbage_collector_is_left_as_it_was_found() -> None:
    program = """
import gc, sys
from pytest_ftgate.answers.engine import hf_load
hf_load._import_libraries(adapter=False)
first = gc.isenabled(), gc.get_freeze_count() > 100_000, "peft" in sys.modules
gc.disable()
hf_load._import_libraries(adapter=True)
print(first, gc.isenabled(), "peft" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "(True, True, False) False True"


def test_files_are_not_too_long() -> None:
    long = {name(p): n for p in sources(*PACKAGES) if (n := len(p.read_text().splitlines())) > MOST_LINES}
    assert long == {}


def test_no_junk_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    junk = [
        path
        for path in listed.stdout.splitlines()
        if "__pycache__" in path
        or path.endswith((".pyc", ".bin", ".pt", ".pkl", ".orig", ".rej", ".log", "~"))
        or Path(path).name in (".DS_Store", "Thumbs.db")
        or path.startswith((".venv", "runs/", "out/", ".ftgate"))
    ]
    assert junk == []
