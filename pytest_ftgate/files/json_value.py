"""The type of what strict JSON can hold."""

from __future__ import annotations

from typing import Any

Json = Any
"""A value that strict JSON can hold: str, int, finite float, bool, None, list, dict."""
