"""False greens of asking and scoring: an answer counts only where it is the model's, whole, and right (F49 to F65)."""

from __future__ import annotations

import json
from collections.abc import Callable

from false_greens_identity import recorded
from falsegreens import Row, edit, replace
from gateproject import Project
from test_false_greens_process import bad, scored_by
from tinymodel import BASELINES, HEAD, WORDS, questions, record, write_evalset, write_jsonl

JUDGED = "could not be judged"


def target(old: str, new: str) -> Callable[[Project], None]:
    """evals/target.eval.yaml with one part changed."""
    return lambda project: replace(project.root / "evals" / "target.eval.yaml", old, new)


def sampling_base(project: Project) -> None:
    wild = {"do_sample": True, "temperature": 5.0, "top_k": 50, "repetition_penalty": 9.0, "max_length": 30}
    edit(project.root / "base" / "generation_config.json", **wild)
    recorded(project)


def right_padding(project: Project) -> None:
    edit(project.root / "base" / "tokenizer_config.json", padding_side="right", truncation_side="left")
    recorded(project)


def short_tokenizer(project: Project) -> None:
    """A tokenizer that would cut prompts at 8 tokens."""
    edit(project.root / "base" / "tokenizer_config.json", model_max_length=8)
    recorded(project)


def one_set(
    gates: str, targets: list[object] | None = None, *, head: str = HEAD, n: int = 60
) -> Callable[[Project], None]:
    """A folder `one` with one eval set whose references are the candidate's answers."""

    def change(project: Project) -> None:
        texts = list(project.world.texts["candidate"])[:n] if targets is None else targets
        write_evalset(project.root / "one", "one", gates, texts, head=head, baselines=BASELINES)

    return change


def both_right(n: int) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        pairs = zip(project.world.texts["candidate"], project.world.texts["base"], strict=True)
        targets = [[a, b] for a, b in pairs][:n]
        write_evalset(project.root / "one", "one", "forgetting: {max_drop: 0.05}", targets)

    return change


def parts_of_words(project: Project) -> None:
    """References that stand inside the answers only as parts of longer words."""
    words = [max(text.split() or [""], key=len) for text in project.world.texts["candidate"]]
    head = HEAD.replace("scorer: exact", "scorer: includes")
    targets = [word[1:-1] if word[1:-1].isalnum() else "never said" for word in words]
    write_evalset(project.root / "one", "one", "accuracy: {min: 0.5}", targets, head=head)


def misspelt_schema(project: Project) -> None:
    schema = {"type": "object", "requried": ["category"], "properties": {"category": {"type": "string"}}}
    project.write("one/answer.schema.json", json.dumps(schema))
    one_set("format: {json_schema: answer.schema.json, min_rate: 0.9}")(project)


def leaked(project: Project) -> None:
    asked = [f"{q} and the {' '.join(reversed(WORDS[:14]))} {i}" for i, q in enumerate(questions(40))]
    write_evalset(project.root / "one", "one", "overlap: {max: 0}", ["x"] * 40, asked=asked)
    rows_ = [{"prompt": q, "completion": "yes"} for q in (*questions(20, seed=500), asked[17])]
    path = write_jsonl(project.root / "train.jsonl", rows_)
    good = project.root / "runs" / "good"
    (good / "ftgate.json").unlink()
    record(good, project.root / "base", [path])


ONE = ("one",)
ROWS = [
    Row("f49_no_length_given", None, "max_new_tokens", target("generation: {max_new_tokens: 4}\n", "")),
    Row("f49_an_empty_generation", None, "max_new_tokens", target("{max_new_tokens: 4}", "{}")),
    Row("f50_sampling_is_not_inherited", "SHIP", "all 4 gates passed", sampling_base),
    Row(
        "f50_sampling_cannot_be_asked_for",
        None,
        "temperature",
        target("max_new_tokens: 4", "max_new_tokens: 4, temperature: 1"),
    ),
    Row(
        "f51_a_prompt_too_long", "NOT_EVALUATED", JUDGED, bad("too_long"), ("some",), also=["exceed the context of 256"]
    ),
    Row("f51_the_tokenizers_own_limit_cuts_nothing", "SHIP", "all 4 gates passed", short_tokenizer),
    Row(
        "f52_cut_off_is_no_good_format",
        "BLOCK",
        "one::format failed",
        one_set('format: {regex: "[ -~]*", min_rate: 0.9}'),
        ONE,
        also=["cut at max_new_tokens"],
    ),
    Row("f53_right_padding_is_not_inherited", "SHIP", "all 4 gates passed", right_padding),
    Row("f56_a_part_of_a_word_is_no_answer", "BLOCK", "one::accuracy failed", parts_of_words, ONE),
    Row("f57_a_scorer_that_raises", "NOT_EVALUATED", JUDGED, scored_by("raise KeyError('x')"), also=["KeyError"]),
    Row("f57_a_scorer_that_returns_nothing", "NOT_EVALUATED", JUDGED, scored_by("return None"), also=["NoneType"]),
    Row("f57_a_scorer_that_exits", "NOT_EVALUATED", JUDGED, scored_by("sys.exit(0)"), also=["SystemExit"]),
    Row("f57_a_scorer_out_of_range", "NOT_EVALUATED", JUDGED, scored_by("return 7")),
    Row(
        "f58_the_reference_in_the_prompt",
        None,
        "the field of the reference answer",
        target('user: "{q}"', 'user: "{q} {target}"'),
    ),
    Row(
        "f58_the_reference_in_the_system_turn",
        None,
        "the field of the reference answer",
        target('system: "Answer."', 'system: "Say {target}."'),
    ),
    Row("f59_a_test_case_in_the_training_set", "BLOCK", "one::overlap failed", leaked, ONE, also=["e17"]),
    Row("f61_a_misspelt_schema", None, "requried", misspelt_schema, ONE),
    Row(
        "f61_a_pattern_that_allows_everything",
        None,
        "gates.format.regex",
        one_set('format: {regex: "(?s).*", min_rate: 0.9}'),
        ONE,
    ),
    Row("f62_few_examples_show_no_loss", "INCONCLUSIVE", "could not be certified", both_right(12), ONE),
    Row("f65_a_base_that_can_do_nothing", "NOT_EVALUATED", JUDGED, bad("nothing_known"), ("some",)),
    Row("f65_no_baseline_at_all", None, "baselines", target(BASELINES, "")),
]
