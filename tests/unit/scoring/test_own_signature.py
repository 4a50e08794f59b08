"""The signature of a scorer function: what can never score is refused when eval sets are collected."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from answered import evalset, example

from pytest_ftgate import Example, Generation, Score, load_evalset
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.preconditions import check_usable
from pytest_ftgate.scoring.own_function import function_scorer

NUMBER = itertools.count()
EVALSET = """\
version: 1
examples: rows.jsonl
prompt: {{user: "{{q}}"}}
generation: {{max_new_tokens: 4}}
scorer: "{path}"
gates:
  accuracy: {{min: 0.5}}
"""


def module_with(folder: Path, text: str) -> str:
    """Python imports a name once: every module gets another one."""
    name = f"own_signature_{next(NUMBER)}"
    (folder / f"{name}.py").write_text(text)
    return f"{name}:score"


@pytest.mark.parametrize(
    "text",
    [
        "def score(answer): return 1.0",
        "def score(): return 1.0",
        "def score(example, generation, threshold): return 1.0",
        "def score(*, example, generation): return 1.0",
        "def score(example, generation, *, strict): return 1.0",
        "class score:\n    def __init__(self, answer): ...",
        "from functools import partial\ndef f(a, b): return 1.0\nscore = partial(f, 1)",
        "async def score(example, generation): return 1.0",
        "def score(example, generation): yield 1.0",
    ],
)
def test_u5_a_scorer_of_another_signature_is_refused_before_anything_is_asked(tmp_path: Path, text: str) -> None:
    path = module_with(tmp_path, text)
    with pytest.raises(InputError, match=r"write `def score\(example, generation\)`"):
        function_scorer(path, base_dir=tmp_path)
    (tmp_path / "x.eval.yaml").write_text(EVALSET.format(path=path))
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": "{i}", "q": "q{i}", "target": "a"}}\n' for i in range(40)))
    with pytest.raises(InputError, match=r"x\.eval\.yaml.*scorer\.function"):
        check_usable(load_evalset(tmp_path / "x.eval.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "def score(example, generation): return 0.5",
        "def score(example, generation, threshold=0.5): return threshold",
        "def score(*arguments, **options): return 0.5",
        "class Half:\n    def __call__(self, example, generation): return 0.5\nscore = Half()",
        "from functools import partial\ndef f(a, b, c): return a\nscore = partial(f, 0.5)",
        "from pytest_ftgate import Score\ndef score(example, generation): return Score(0.5, None, 'half')",
    ],
)
def test_u5_what_takes_the_two_arguments_scores(tmp_path: Path, text: str) -> None:
    scorer = function_scorer(module_with(tmp_path, text), base_dir=tmp_path)
    asked: Example = evalset([example(0)]).examples[0]
    given = scorer(asked, Generation("x", (), "stop"))
    assert isinstance(given, Score)
    assert given.value == 0.5
