"""An eval-set file with everything in it, and what is said of it when it is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ftgate.evalset.loader import EVALSET_SUFFIX, load_evalset
from pytest_ftgate.files.problems import EvalSetError

YAML = """\
version: 1
examples: tickets.jsonl
target: [category, priority]
cluster: customer
prompt: {system: "Triage.", user: "{ticket}"}
baselines:
  zero_shot: {system: "Answer as JSON {{}}"}
  few_shot: {shots: {from: shots.jsonl, n: 2}}
  retrieval: {user: "{passages}\\n\\n{ticket}", passages: {from: kb.jsonl, field: text, n: 1}}
generation: {max_new_tokens: 64, stop: ["END"]}
scorer: {json_fields: [category, priority]}
gates:
  overlap:        {max: 0}
  format:         {json_schema: answer.schema.json, min_rate: 0.97}
  accuracy:       {min: 0.85}
  beats_baseline: {min_gain: 0.05}
"""
ROWS = [
    {"id": f"a{i}", "ticket": f"t{i}", "category": "x", "priority": "low", "customer": f"c{i % 2}"} for i in range(1, 5)
]
SMALL = """\
version: 1
examples:
  - {id: a, q: "1 + 1?", target: "2"}
prompt: {user: "{q}"}
generation: {max_new_tokens: 8}
scorer: exact
gates: {accuracy: {min: 0.5}}
"""


def fill(tmp_path: Path) -> Path:
    """Every file that YAML names."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "tickets.jsonl").write_text(lines)
    (tmp_path / "shots.jsonl").write_text(lines.replace('": "t', '": "shot '))
    (tmp_path / "kb.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "answer.schema.json").write_text('{"type": "object", "required": ["category"]}')
    return tmp_path


def write(folder: Path, *changes: tuple[str, str], text: str = YAML) -> Path:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"tickets{EVALSET_SUFFIX}"
    path.write_text(text)
    return path


def told(path: Path) -> list[str]:
    with pytest.raises(EvalSetError) as caught:
        load_evalset(path)
    return [str(p) for p in caught.value.problems]
