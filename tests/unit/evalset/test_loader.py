"""Eval-set files: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evalsetfile import ROWS, SMALL, YAML, fill, told, write

from pytest_ftgate.evalset.loader import load_evalset, read_gates
from pytest_ftgate.evalset.types import GateSpec, GenerationSettings, Prompt, ScorerSpec
from pytest_ftgate.files.problems import EvalSetError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)


def test_a_whole_eval_set(folder: Path) -> None:
    evalset = load_evalset(write(folder))
    assert evalset.name == "tickets"
    assert [e.id for e in evalset.examples] == ["a1", "a2", "a3", "a4"]
    assert [(e.path, e.line) for e in evalset.examples] == [("tickets.jsonl", n) for n in (1, 2, 3, 4)]
    assert evalset.examples[0].fields == ROWS[0]
    assert evalset.examples[0].target == {"category": "x", "priority": "low"}
    assert evalset.examples[0].cluster == "c1"
    assert evalset.prompt == Prompt(system="Triage.", user="{ticket}")
    zero, few, retrieval = evalset.baselines
    assert (zero.name, zero.prompt) == ("zero_shot", Prompt(system="Answer as JSON {{}}", user="{ticket}"))
    assert few.prompt == evalset.prompt
    assert few.shots is not None
    assert (len(few.shots.examples), few.shots.n, few.shots.select) == (4, 2, "first")
    assert few.shots.examples[1].target == {"category": "x", "priority": "low"}
    assert retrieval.passages is not None
    assert (retrieval.passages.texts, retrieval.passages.n) == (("one", "two"), 1)
    assert retrieval.prompt == Prompt(system="Triage.", user="{passages}\n\n{ticket}")
    assert evalset.generation == GenerationSettings(64, ("END",))
    assert evalset.scorer == ScorerSpec("json_fields", {"fields": ["category", "priority"], "score": "all"})
    assert evalset.gates == (
        GateSpec("overlap", 0.0, {"excess_only": False, "train": [], "max_rate": False}, 13),
        GateSpec("format", 0.97, {"json_schema": "answer.schema.json"}, 14),
        GateSpec("accuracy", 0.85, {}, 15),
        GateSpec("beats_baseline", 0.05, {}, 16),
    )
    assert len(evalset.digest) == 64


def test_read_gates_opens_no_other_file(folder: Path) -> None:
    path = write(folder, ("{max: 0}", "{max_rate: 0.01, excess_only: true}"))
    expected = GateSpec("overlap", 0.01, {"excess_only": True, "train": [], "max_rate": True}, 13)
    for name in ("tickets.jsonl", "shots.jsonl", "kb.jsonl", "answer.schema.json"):
        (folder / name).unlink()
    gates = read_gates(path)
    assert gates[0] == expected
    assert [g.kind for g in gates] == ["overlap", "format", "accuracy", "beats_baseline"]
    with pytest.raises(EvalSetError, match=r"write 0\.85"):
        read_gates(write(folder, ("min: 0.85", "min: 85")))


@pytest.mark.parametrize(
    ("written", "kind", "options"),
    [
        ("exact", "exact", {"ignore_case": False, "ignore_punctuation": False}),
        ("{exact: {ignore_case: true}}", "exact", {"ignore_case": True, "ignore_punctuation": False}),
        ("includes", "includes", {"ignore_case": False}),
        ("numeric", "numeric", {"tolerance": 0.0}),
        ("{numeric: {tolerance: 1}}", "numeric", {"tolerance": 1}),
        ("similarity", "similarity", {"metric": "chrf"}),
        ('{choice: {labels: ["2", no]}}', "choice", {"labels": ["2", "no"], "by": "generation"}),
        ('{regex: {pattern: "\\\\d+"}}', "regex", {"pattern": "\\d+", "match": "full"}),
        ("my.mod:fn", "function", {"path": "my.mod:fn"}),
        ('{function: "my.mod:fn"}', "function", {"path": "my.mod:fn"}),
    ],
)
def test_scorers_get_complete_options(folder: Path, written: str, kind: str, options: dict[str, object]) -> None:
    evalset = load_evalset(write(folder, ("scorer: exact", f"scorer: {written}"), text=SMALL))
    assert evalset.scorer == ScorerSpec(kind, options)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("min: 0.85", "min: 85", ["tickets.eval.yaml:15: gates.accuracy.min: expected a fraction", "Fix: write 0.85"]),
        ("min: 0.85", "min: '85%'", ["Fix: write the fraction: 0.85"]),
        ("min: 0.85", "min: '0.85'", ["Fix: write it without quotes: 0.85"]),
        ("min: 0.85", "min: -1", ["found the number -1"]),
        ("min: 0.85", "", ["`accuracy` needs `min`, found an empty mapping. Fix: add `min: 0.85`"]),
        ("{min: 0.85}", "0.85", ["expected a mapping, found the number 0.85. Fix: write {min: 0.85}"]),
        ("accuracy:  ", "acuracy: ", ["unknown key `acuracy`. Fix: did you mean `accuracy`?"]),
        ("min_rate: 0.97", "min_rat: 0.97", ["Fix: did you mean `min_rate`?"]),
        ("json_schema: answer.schema.json, ", "", ["needs `json_schema`, `regex`, `choices` or `max_length`"]),
        ("{max: 0}", "{max: 0, max_rate: 0.1}", ["takes only one of `max` or `max_rate`"]),
        ("{max: 0}", "{}", ["`overlap` needs `max` or `max_rate`"]),
        ("{max: 0}", "{max: 0, excess_only: yes}", ["expected true or false, found the text 'yes'. Fix: write true"]),
        ("{max: 0}", "{max: 0, train: [a.jsonl]}", ["gates.overlap.train[0]: expected a training file"]),
        ("version: 1", "version: 2", ["expected 1"]),
        ('"{ticket}"}\nb', "{ticket}}\nb", ['Fix: quote this: "{ticket}"']),
        ('"{ticket}"}\nb', '"{tiket}"}\nb', ["prompt.user: ", "Fix: did you mean {ticket}?"]),
        ('"{ticket}"}\nb', '"{ticket.x}"}\nb', ["{ticket.x} is not a plain field name"]),
        ('"{ticket}"}\nb', '"{ticket} {"}\nb', ["a brace stands alone"]),
        ('"Triage."', '"{passages}"', ["found `{passages}` without `passages`"]),
        ("{passages}\\n\\n", "", ["expected `{passages}` in the rung's prompt"]),
        ('user: "{ticket}"}\nb', 'user: "{ticket}", text: x}\nb', ["takes only one of `user`, `text` or `messages`"]),
        ('user: "{ticket}"}\nb', 'text: "{ticket}"}\nb', ["expected no `system` beside `text`"]),
        ('{system: "Answer as JSON {{}}"}', "{text: a, user: b}", ["expected no `user` beside `text`"]),
        ("few_shot:", "Few-Shot:", ["expected a rung name of lower-case letters"]),
        ("n: 2", "n: 9", ["expected at least 9 rows in 'shots.jsonl', found 4. Fix: add rows, or write `n: 4`"]),
        ("field: text, n: 1", "field: txt, n: 1", ["kb.jsonl:1: txt: expected a text, found nothing", "2 rows: 1, 2"]),
        (
            "kb.jsonl",
            "kb2.jsonl",
            ["tickets.eval.yaml:9: baselines.retrieval.passages.from", "did you mean 'kb.jsonl'"],
        ),
        (
            "examples: tickets.jsonl",
            "examples: tikets.jsonl",
            ["tickets.eval.yaml:2: examples: ", "did you mean 'tickets.jsonl'"],
        ),
        ("examples: tickets.jsonl", "examples: []", ["expected at least one example"]),
        (
            "examples: tickets.jsonl",
            "examples: {dataset: a/b, split: x, revision: main}",
            ["a commit of 40 hex digits"],
        ),
        ("examples: tickets.jsonl", "examples: {dataset: a/b}", ["expected `revision` and `split` beside a hub id"]),
        ("cluster: customer", "cluster: custmer", ["Fix: did you mean `customer`?"]),
        (
            "[category, priority]\nc",
            "[categry]\nc",
            ["target: expected a field of the rows", "did you mean `category`?"],
        ),
        ("[category, priority]\nc", "null\nc", ["expected a reference answer for the scorer json_fields, found null"]),
        ("[category, priority]\nc", "category\nc", ["expected an object with `category` and `priority`"]),
        ("[category, priority]\nc", "[category]\nc", ["found no `priority`"]),
        ("{json_fields: [category, priority]}", "exakt", ["expected exact, includes, numeric, similarity"]),
        ("{json_fields: [category, priority]}", "{exact: {}, includes: {}}", ["exactly one scorer"]),
        ("{json_fields: [category, priority]}", "{json_fields: category}", ["Fix: write a list: ['category']"]),
        ("{json_fields: [category, priority]}", "exact", ["expected a text, or a list of accepted texts"]),
        ("{json_fields: [category, priority]}", "{choice: {labels: [a, 1]}}", ['Fix: quote this: "1"']),
        (
            "{json_fields: [category, priority]}",
            "{choice: {labels: [a, b]}}",
            ["expected one of the labels `a` or `b`"],
        ),
        ("{json_fields: [category, priority]}", "numeric", ["expected a number, found a mapping"]),
        (
            "{json_fields: [category, priority]}",
            '{regex: {pattern: "("}}',
            ["scorer.regex.pattern: expected a regular"],
        ),
        (
            "scorer: {json_fields: [category, priority]}\n",
            "",
            ["expected a scorer for `accuracy` and `beats_baseline`"],
        ),
        ("json_schema: answer.schema.json", 'regex: "((a{999}){999}){999}"', ["nested repeats"]),
        ("json_schema: answer.schema.json", "json_schema: gone.json", ["gone.json: expected a file, found none"]),
        ("max_new_tokens: 64", "max_new_tokens: '64'", ["Fix: write it without quotes: 64"]),
        ("max_new_tokens: 64", "max_new_tokens: 0", ["from 1 to 131072"]),
        ("version: 1", "version: 1\nname: a b", ["expected a name of letters"]),
        ("version: 1", "version: 1\nversion: 1", ["expected each key once"]),
    ],
)
def test_refused(folder: Path, old: str, new: str, parts: list[str]) -> None:
    text = "\n".join(told(write(folder, (old, new))))
    assert all(part in text for part in parts), text


def test_gates_without_what_they_need(folder: Path) -> None:
    path = write(folder, (YAML[YAML.index("baselines:") : YAML.index("generation:")], ""))
    assert "expected baselines to beat, found none" in told(path)[0]
    path = write(folder, (YAML[YAML.index("gates:") :], "gates: {}\n"))
    assert "expected at least one gate" in told(path)[0]


def test_all_problems_at_once(folder: Path) -> None:
    found = told(write(folder, ('"{ticket}"}\nb', '"{tiket}"}\nb'), ("n: 2", "n: 9"), ("kb.jsonl", "gone.jsonl")))
    assert len(found) == 3
    found = told(write(folder, ("min: 0.85", "min: 85"), ("0.97", "97"), ("version: 1", "versoin: 1")))
    assert len(found) == 3


def test_rows_are_grouped_with_their_lines(folder: Path) -> None:
    ids = ["1", "2", '"a b"', '""', '"-x"', '"../x"', '"<img>"', "null", '"é"', '"' + "x" * 129 + '"']
    row = '{"id":%s,"ticket":null,"category":"x","priority":"y","customer":7}\n'
    (folder / "tickets.jsonl").write_text("".join(row % i for i in ids))
    found = told(write(folder))
    assert [line.split(": expected")[0] for line in found] == [
        "tickets.jsonl:1: id",
        "tickets.jsonl:1: customer",
        "tickets.jsonl:3: id",
        "tickets.jsonl:8: id",
        "tickets.jsonl:1: ticket",
    ]
    assert found[0].endswith("found the number 1 (2 rows: 1, 2). Fix: quote this")
    assert "(10 rows: 1, 2, 3, 4, 5, ...)" in found[1]


def test_ids_that_differ_only_in_case_are_twins(folder: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in [*ROWS, {**ROWS[0], "id": "A1"}, ROWS[1]])
    (folder / "tickets.jsonl").write_text(lines)
    found = told(write(folder))
    assert "tickets.jsonl:5: id: expected each id once, found 'A1' beside 'a1' (first on line 1)" in found[0]
    assert "(2 rows: 5, 6)" in found[0]


@pytest.mark.parametrize(
    ("scorer", "target", "part"),
    [
        ("{choice: {labels: [a, b]}}", "c", "expected one of the labels `a` or `b`, found the text 'c'"),
        ("numeric", "two", "expected a number, found the text 'two'"),
        ("exact", "[]", "found an empty list"),
        ("exact", '[a, ""]', "found a list of 2"),
        ("includes", '" "', "expected a text"),
        ("{json_fields: [a]}", "{b: 1}", "found no `a`"),
    ],
)
def test_targets_that_the_scorer_cannot_compare_with(folder: Path, scorer: str, target: str, part: str) -> None:
    path = write(folder, ("scorer: exact", f"scorer: {scorer}"), ('target: "2"', f"target: {target}"), text=SMALL)
    (found,) = told(path)
    assert found.startswith("tickets.eval.yaml:3: target: ")
    assert part in found


@pytest.mark.parametrize("target", ["2", "-2.5", '"1,234"', '"2"'])
def test_numbers_may_be_written_as_text(folder: Path, target: str) -> None:
    path = write(folder, ("scorer: exact", "scorer: numeric"), ('target: "2"', f"target: {target}"), text=SMALL)
    assert load_evalset(path).examples[0].target in (2, -2.5, "1,234", "2")


def test_row_numbers_as_ids(folder: Path) -> None:
    path = write(folder, ("version: 1", 'version: 1\nid: "@row"'))
    assert [e.id for e in load_evalset(path).examples] == ["row-1", "row-2", "row-3", "row-4"]


@pytest.mark.parametrize("value", ["1.50", "true", "7"])
def test_inline_texts_must_be_texts(folder: Path, value: str) -> None:
    assert (
        "tickets.eval.yaml:3: q: expected a text for the prompt"
        in told(write(folder, ('q: "1 + 1?"', f"q: {value}"), text=SMALL))[0]
    )
    assert "quote this" in told(write(folder, ('target: "2"', f"target: {value}"), text=SMALL))[0]


def test_inline_yaml_words_stay_words(folder: Path) -> None:
    evalset = load_evalset(write(folder, ('target: "2"', "target: no"), ('q: "1 + 1?"', "q: 12:30"), text=SMALL))
    assert (evalset.examples[0].target, evalset.examples[0].fields["q"]) == ("no", "12:30")
    assert (evalset.examples[0].path, evalset.examples[0].line) == ("tickets.eval.yaml", 3)


def test_targets_may_be_missing_where_nothing_needs_them(folder: Path) -> None:
    path = write(
        folder,
        (', target: "2"', ""),
        ("scorer: exact\n", ""),
        ("accuracy: {min: 0.5}", "overlap: {max: 0}"),
        text=SMALL,
    )
    assert load_evalset(path).examples[0].target is None
    assert load_evalset(path).scorer is None
    assert "expected a reference answer, found none" in told(write(folder, (', target: "2"', ""), text=SMALL))[0]


@pytest.mark.parametrize(
    ("messages", "part"),
    [
        ('[{role: user, content: "hi"}]', None),
        ('[{role: user, content: "hi"}, {role: assistant, content: "x"}]', "expected a user message last"),
        ('[{role: tool, content: "hi"}]', "'tool'"),
        ('"hi"', "a list of messages"),
        ('[{role: system, content: s}, {role: user, content: "hi"}]', "expected one system turn"),
    ],
)
def test_messages(folder: Path, messages: str, part: str | None) -> None:
    text = SMALL.replace('q: "1 + 1?"', f"q: {messages}").replace('{user: "{q}"}', "{system: s, messages: q}")
    path = write(folder, text=text)
    if part is None:
        assert load_evalset(path).prompt == Prompt(system="s", messages="q")
    else:
        assert part in told(path)[0]


def test_a_rung_without_its_own_form_inherits_it(folder: Path) -> None:
    text = SMALL + 'baselines:\n  a: {user: "U {q}"}\n  b: {text: "T {q}"}\n'
    a, b = load_evalset(write(folder, ('{user: "{q}"}', '{text: "P {q}"}'), text=text)).baselines
    assert (a.prompt, b.prompt) == (Prompt(user="U {q}"), Prompt(text="T {q}"))
    text = SMALL.replace('{user: "{q}"}', '{text: "P {q}"}') + "baselines:\n  a: {system: s}\n"
    assert "expected no `system` beside the `text` of prompt" in told(write(folder, text=text))[0]


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ("{}", "at least one rule"),
        ("true", "at least one rule"),
        ('{"requried": ["a"]}', "did you mean `required`?"),
        ('{"properties": {"a": {"typ": "string"}}}', "properties.a: expected a JSON Schema keyword"),
        ('{"$ref": "http://example.com/x"}', "a `$ref` into this file"),
        ('{"items": {"$ref": "file:///etc/passwd"}}', "a `$ref` into this file"),
        ('{"$ref": "#/$defs/x"}', "leads to a schema"),
        ('{"$ref": "#"}', "leads back to itself"),
        ('{"$dynamicRef": "#x"}', "keyword"),
        ('{"properties": {"a": {"$id": "http://example.com/", "type": "string"}}}', "only at the top"),
        ('{"type": "objekt"}', "type: expected array, boolean"),
        ('{"minLength": "3"}', "minLength"),
        ('{"pattern": "(a"}', "regular expression"),
        ('{"patternProperties": {"(a": {}}}', "regular expression"),
        ('{"format": "dat"}', "a format that can be checked"),
        ('{"$schema": "http://example.com/s", "type": "object"}', "expected a draft"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": []}', "keyword of this draft"),
        ('{"type": "object",}', "trailing comma"),
        ('{"type": "object", "type": "array"}', "each key once"),
    ],
)
def test_format_schemas_that_check_less_than_they_say(folder: Path, schema: str, part: str) -> None:
    (folder / "answer.schema.json").write_text(schema)
    found = told(write(folder))
    assert all(line.startswith("answer.schema.json") for line in found)
    assert part in found[0]


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [1]}}}',
        '{"properties": {"child": {"$ref": "#"}}}',
        '{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"}',
        '{"$id": "https://example.com/a.json", "title": "A", "format": "date"}',
        '{"pattern": "^\\\\p{L}+$"}',
    ],
)
def test_good_format_schemas(folder: Path, schema: str) -> None:
    (folder / "answer.schema.json").write_text(schema)
    assert load_evalset(write(folder))


def test_a_long_chain_of_references_is_refused(folder: Path) -> None:
    defs = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(5000)} | {"d5000": {"type": "object"}}
    (folder / "answer.schema.json").write_text(json.dumps({"$ref": "#/$defs/d0", "$defs": defs}))
    assert "expected a `$ref` that ends" in told(write(folder))[0]


def test_the_digest_is_of_content_not_of_places(folder: Path) -> None:
    digest = load_evalset(write(folder)).digest
    (folder / "answer.schema.json").rename(folder / "s.json")
    (folder / "tickets.jsonl").rename(folder / "t.jsonl")
    (folder / "t.jsonl").write_text("\n" + (folder / "t.jsonl").read_text())
    moved = [("answer.schema.json", "s.json"), ("tickets.jsonl", "t.jsonl"), ("version: 1", "# moved\nversion: 1")]
    assert load_evalset(write(folder, *moved)).digest == digest
    scorer = "{json_fields: [category, priority]}"
    changes = [
        ("min: 0.85", "min: 0.86"),
        ("max_new_tokens: 64", "max_new_tokens: 65"),
        ('"Triage."', '"Triage!"'),
        (scorer, "{json_fields: {fields: [category, priority], score: mean}}"),
        ("n: 2", "n: 3"),
        ("zero_shot", "zero"),
        ("cluster: customer\n", ""),
    ]
    digests = {load_evalset(write(folder, *moved, change)).digest for change in changes}
    (folder / "s.json").write_text('{"type": "object"}')
    digests.add(load_evalset(write(folder, *moved)).digest)
    (folder / "kb.jsonl").write_text('{"text": "other"}\n')
    digests.add(load_evalset(write(folder, *moved)).digest)
    assert len(digests | {digest}) == len(changes) + 3


def test_names(folder: Path) -> None:
    path = write(folder)
    other = path.rename(folder / "my tickets.eval.yaml")
    assert "Fix: rename the file, or write `name: ...`" in told(other)[0]
    other.write_text("name: mine\n" + YAML)
    assert load_evalset(other).name == "mine"
