"""The picture of a run: drawn from the log, and never the reason that a run is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from training.plot import _draw_loss, _running_mean, save_plot

LOG = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-3 / step} for step in (1, 10, 20, 30)]
DEV = [*LOG, {"step": 10, "eval_loss": 0.4}, {"step": 20, "eval_loss": 0.6}, {"step": 30, "train_loss": 9.0}]


def drawn(log: list[dict[str, Any]], **options: Any) -> dict[str, list[tuple[float, float]]]:
    """Label -> points of each line of the loss panel."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    _draw_loss(axes, log, options.get("kept"))
    return {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_every_logged_loss_is_drawn_and_nothing_else() -> None:
    lines = drawn(LOG)
    assert lines == {"training 0.0667": [(1, 2.0), (10, 0.2), (20, 0.1), (30, 2.0 / 30)]}


def test_the_dev_loss_is_drawn_and_the_step_that_was_kept_marked() -> None:
    lines = drawn(DEV, kept=10)
    assert lines["dev"] == [(10, 0.4), (20, 0.6)]
    assert lines["kept: step 10"] == [(10, 0.4)]
    assert "kept: step 30" not in drawn(DEV, kept=30)


def test_a_long_curve_is_smoothed_over_its_last_twentieth() -> None:
    points = [(step, float(step % 2)) for step in range(100)]
    mean = _running_mean(points)
    assert [step for step, _ in mean] == list(range(100))
    assert mean[0] == (0, 0.0)
    assert all(0.35 < value < 0.65 for _, value in mean[4:])


def test_the_same_log_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        assert save_plot(DEV, tmp_path / name, title="lora on $odd$ {base}, seed 0", kept=10) is None
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    margins = [{**entry, "rewards/margins": 0.1} for entry in LOG]
    assert save_plot(margins, tmp_path / "dpo.png", title="dpo") is None
    assert (tmp_path / "dpo.png").read_bytes() != (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("log", [[], [{"step": 1}], [{"loss": 1.0}]])
def test_what_cannot_be_drawn_is_a_warning(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    warning = save_plot(log, tmp_path / "x.png", title="x")
    assert warning is not None
    assert warning.startswith("x.png was not drawn (")


def test_without_matplotlib_it_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    warning = save_plot(LOG, tmp_path / "x.png", title="x")
    assert warning is not None
    assert "ImportError" in warning or "ModuleNotFoundError" in warning
    assert list(tmp_path.iterdir()) == []
