"""How far the stage is, in one line."""

from __future__ import annotations

from pytest_ftgate.answers.stage import Progress


def progress_line(progress: Progress) -> str:
    """`ftgate: candidate 128/700 answers, 2,310 tokens/s, 12 s left`"""
    speed = progress.new_tokens / progress.seconds if progress.seconds > 0 else 0.0
    left = progress.total - progress.done
    eta = f", {left * progress.seconds / progress.done:.0f} s left" if progress.done and left else ""
    return f"ftgate: {progress.side} {progress.done}/{progress.total} answers, {speed:,.0f} tokens/s{eta}"
