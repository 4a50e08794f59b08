"""Names that are taken for others."""

from __future__ import annotations

import unicodedata

import pytest

from pytest_ftgate.files.lookalike import looks_like

LIKE = (
    *(
        "g.eval.yaml ",
        "g.eval.yaml\u00a0",
        "g.eval. yaml",
        "g.eval.yaml.",
        "g.eval..yaml",
        "g.EVAL.YAML",
        "g.Eval.Yaml",
    ),
    *("g.ev\u0430l.yaml", "g.eval.yam\u04cf", "g.\u0435v\u0430l.y\u0430ml", "g.e\u03bdal.yaml", "g.\u212eval.yaml"),
    *("g.eval\u200b.yaml", "g.eval.yaml\u200d", "g.\ufeffeval.yaml", "g.ev\u00adal.yaml", "g.eval\u3164.yaml"),
    *("g.ｅｖａｌ.yaml", "g．eval.yaml", "g․eval․yaml", "g·eval.yaml", "g.évàl.yaml", "g.𝐞val.yaml", "g.ⓔval.yaml"),
    *("g.eva1.yaml", "g.evaI.yaml", "g.eval.yarnl", "g.ꭼval.yaml", "g.ꮩal.yaml".replace("ꮩ", "eꮩ"), "g.eᴠal.yaml"),
)
UNLIKE = (
    *("g.eval.yaml.bak", "g.eval.yaml~", "g.yaml", "evals.yaml", "g.eval.yaml.jsonl", "g.oval.yaml", "g.eval.toml", ""),
    *("отчёт.файл.txt", "数据.评估.文件", "eval.yaml", "g.rival.yaml.old"),
)


@pytest.mark.parametrize("name", LIKE)
def test_s11_a_name_that_looks_like_an_eval_set_is_found(name: str) -> None:
    assert looks_like(name, ".eval.yaml")
    assert looks_like(unicodedata.normalize("NFD", name), ".eval.yaml")


@pytest.mark.parametrize("name", UNLIKE)
def test_another_name_is_another_name(name: str) -> None:
    assert not looks_like(name, ".eval.yaml")
