"""The curves of a run as one picture: training loss, dev loss, reward margin where there is one, learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLOT_NAME = "loss.png"

_SMOOTH_FROM = 60
"""With fewer points the curve is read as it is."""
_BLUE, _ORANGE, _GREEN, _GREY = "#1f5fa8", "#d9730d", "#2f7d4f", "#6b7280"

Log = Sequence[Mapping[str, Any]]
"""`log_history` of a transformers trainer: entries with `step` and `loss`, `eval_loss`, `learning_rate`, ..."""


def save_plot(log: Log, path: Path, *, title: str, kept: int | None = None) -> str | None:
    """Write the picture; returns why it could not be written, as a warning, or None.

    `kept`: the step whose weights were kept, where that is not the last one. Never raises: a run that took hours is
    not lost over its picture.
    """
    try:
        _save(log, path, title, kept)
    except Exception as error:  # noqa: BLE001  # whatever the drawing library does, the weights are worth more
        return f"{path.name} was not drawn ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    return None


def _save(log: Log, path: Path, title: str, kept: int | None) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    margins = _points(log, "rewards/margins")
    panels = 3 if margins else 2
    heights = [3.0, 1.6, 1.0] if margins else [3.0, 1.0]
    figure = Figure(figsize=(8.0, 1.1 * sum(heights) + 0.9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no display is looked for
    axes = figure.subplots(panels, 1, sharex=True, height_ratios=heights)
    _draw_loss(axes[0], log, kept)
    axes[0].set_title(title, loc="left", fontsize=10, parse_math=False)
    if margins:
        axes[1].plot(*zip(*margins, strict=True), color=_GREEN, linewidth=1.4)
        axes[1].axhline(0.0, color=_GREY, linewidth=0.6)
        axes[1].set_ylabel("reward margin")
    rates = _points(log, "learning_rate")
    axes[-1].plot(*zip(*rates, strict=True), color=_GREY, linewidth=1.4)
    axes[-1].set_ylabel("learning rate")
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    for one in axes:
        one.grid(alpha=0.25, linewidth=0.6)
        one.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels(axes)
    figure.savefig(path, metadata={"Software": None})


def _draw_loss(axes: Any, log: Log, kept: int | None) -> None:
    from matplotlib.ticker import LogLocator

    train, dev = _points(log, "loss"), _points(log, "eval_loss")
    smooth = len(train) >= _SMOOTH_FROM
    raw = {"linewidth": 0.7, "alpha": 0.4} if smooth else {"linewidth": 1.4, "label": f"training {train[-1][1]:.3g}"}
    axes.plot(*zip(*train, strict=True), color=_BLUE, **raw)
    if smooth:
        mean = _running_mean(train)
        axes.plot(*zip(*mean, strict=True), color=_BLUE, linewidth=1.6, label=f"training {mean[-1][1]:.3g} (smoothed)")
    if dev:
        axes.plot(*zip(*dev, strict=True), color=_ORANGE, marker="o", markersize=3.5, linewidth=1.4, label="dev")
        best = dict(dev).get(kept) if kept is not None else None
        if best is not None:
            axes.plot([kept], [best], "o", markersize=10, fillstyle="none", color=_ORANGE, label=f"kept: step {kept}")
            axes.axvline(kept, color=_ORANGE, linewidth=0.7, linestyle=":")
    axes.set_ylabel("loss")
    losses = [value for _, value in (*train, *dev)]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")  # else the last, interesting part is a flat line
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=9)


def _points(log: Log, name: str) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry[name])) for entry in log if name in entry]


def _running_mean(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Mean of the last twentieth of the points, at each point."""
    width = max(2, len(points) // 20)
    values = [value for _, value in points]
    spans = [values[max(0, i + 1 - width) : i + 1] for i in range(len(values))]
    return [(step, sum(span) / len(span)) for (step, _), span in zip(points, spans, strict=True)]
