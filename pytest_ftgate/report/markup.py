"""HTML that is right by construction: a plain string can only ever become text."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ftgate.files.sanitise import html_text

VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Markup; made by `el`, or written by us. Everything else is escaped on its way in."""

    __slots__ = ()


def el(tag: str, *children: str, limit: int = 2000, **attributes: str | float | None) -> Html:
    """`<tag attribute="...">children</tag>`; a child that is not Html is text of at most `limit` characters.

    `class_` is written class, `data_label` data-label; an attribute that is None is left out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html_text(value, limit=limit) if isinstance(value, str) else value}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(children, limit=limit)}</{tag}>")


def join(children: Iterable[str], *, limit: int = 2000) -> Html:
    """Several pieces, one after the other; those that are not Html are text."""
    return Html("".join(child if isinstance(child, Html) else html_text(child, limit=limit) for child in children))
