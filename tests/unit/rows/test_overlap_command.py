"""`pytest-ftgate overlap`: exit code, JSON contract, what a user reads."""

import json

import pytest

from pytest_ftgate.commands.overlap import main
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.rows.overlap import find_overlaps, items_of
from pytest_ftgate.rows.overlap.show import marked

QUESTIONS = [
    "The baker of Orsk has 14 trays of rye bread and sells 9 of them before noon. How many trays are left at night?",
    "A tailor from Brin cuts 31 coats out of one bale of grey cloth. How many bales does she need for 93 coats?",
    "Two ferries leave the port at dawn, the slow one for Vell and the fast one for Tarn; which of them is back first?",
]


@pytest.fixture
def project(tmp_path):
    rows = [{"id": f"q{i}", "question": q, "answer": str(i)} for i, q in enumerate(QUESTIONS)]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "set.eval.yaml").write_text(
        "version: 1\nexamples: examples.jsonl\ntarget: answer\n"
        'prompt: {system: "Answer.", user: "Question: {question}"}\n'
        "generation: {max_new_tokens: 8}\nscorer: exact\ngates:\n  overlap: {max: 0}\n"
    )
    clean = [{"prompt": f"An unrelated line about number {i} and nothing else", "completion": "ok"} for i in range(40)]
    write(tmp_path / "clean.jsonl", clean)
    near = f"Hi\x1b[2J there! question: {QUESTIONS[1].replace('grey', 'blue')}"
    write(tmp_path / "leaky.jsonl", [*clean, {"prompt": near, "completion": "1"}])
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def test_items_are_rendered_with_the_prompt(project):
    items = items_of(load_evalset(project / "set.eval.yaml"))
    assert [i.input for i in items] == [f"Question: {q}" for q in QUESTIONS]
    assert [i.output for i in items] == ["0", "1", "2"]


def test_clean_data_exits_0(project, capsys):
    assert main([str(project / "clean.jsonl"), "--evals", str(project / "set.eval.yaml")]) == 0
    assert "no overlap of any class" in capsys.readouterr().out


def test_a_leak_exits_1_and_is_shown_with_its_evidence(project, capsys):
    out = project / "out.json"
    code = main([str(project / "leaky.jsonl"), "--evals", str(project / "set.eval.yaml"), "--json", str(out)])
    shown = capsys.readouterr().out
    assert code == 1
    assert "leaky.jsonl:41" in shown
    assert "example q1" in shown
    assert "why: " in shown
    assert "cloth. How many bales does she need" in shown
    assert "\x1b" not in shown
    assert "<U+001B>" in shown
    found = json.loads(out.read_text())
    (leak,) = found["overlaps"]
    assert leak["example_id"] == "q1"
    assert leak["class"] == "near"
    assert (leak["file"], leak["row"], leak["where"]) == (str(project / "leaky.jsonl"), 41, "input+output")
    assert 0.9 < leak["identity"] < 1
    row = f"Hi\x1b[2J there! question: {QUESTIONS[1].replace('grey', 'blue')}"
    for a, b, c, d in leak["spans"]:
        assert leak["example_text"][a:b].casefold() == row[c:d].casefold()
    assert {"near", "exact"} & found.keys() == set()
    assert {"rephrased", "template", "sibling", "context", "short", "partial", "output_only"} <= found.keys()
    assert (found["n_examples"], found["n_rows"], found["judged"]) == (3, 41, True)


def test_texts_can_be_kept_out(project, capsys):
    out = project / "out.json"
    arguments = [
        str(project / "leaky.jsonl"),
        "--evals",
        str(project / "set.eval.yaml"),
        "--json",
        str(out),
        "--no-text",
    ]
    assert main(arguments) == 1
    assert "bales" not in capsys.readouterr().out
    assert "bales" not in out.read_text()
    assert json.loads(out.read_text())["overlaps"][0]["spans"]


def test_what_cannot_be_judged_exits_4(project, capsys):
    evals = ["--evals", str(project / "set.eval.yaml")]
    assert main([str(project / "missing.jsonl"), *evals]) == 4
    assert "missing.jsonl" in capsys.readouterr().err
    (project / "broken.jsonl").write_text((project / "leaky.jsonl").read_text() + "{\n")
    assert main([str(project / "broken.jsonl"), *evals]) == 4
    captured = capsys.readouterr()
    assert "broken.jsonl:42" in captured.out
    assert "--allow-broken-rows" in captured.err
    assert main([str(project / "broken.jsonl"), *evals, "--allow-broken-rows"]) == 1
    assert main([str(project / "clean.jsonl"), "--evals", str(project / "none.yaml")]) == 4


def test_command_and_function_find_the_same(project, capsys):
    out = project / "out.json"
    main([str(project / "leaky.jsonl"), "--evals", str(project / "set.eval.yaml"), "--json", str(out)])
    report = find_overlaps(items_of(load_evalset(project / "set.eval.yaml")), [project / "leaky.jsonl"])
    assert json.loads(out.read_text())["overlaps"] == json.loads(json.dumps(report.to_json()["overlaps"]))


def test_marked_text_shows_matches_and_shortens_the_rest():
    text = "x" * 300 + " abc def " + "y" * 300
    shown = marked(text, [(301, 304), (305, 308)])
    assert "«abc» «def»" in shown
    assert len(shown) < 120
    assert shown.startswith(" … xxx")
    assert marked("abc\x07", [(0, 4)]) == "«abc<U+0007>»"
