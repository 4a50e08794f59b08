"""Lists of chat messages as files hold them."""

from __future__ import annotations

from pytest_ftgate.evalset.types import Message, Role
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief, describe, key, listed

ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def read_messages(value: Json) -> tuple[Message, ...] | str:
    """The messages of `[{role, content}, ...]`, or one sentence part (`expected ..., found ...`) that says why not.

    Roles are system (first only), user and assistant; contents are texts that are not blank.
    """
    if not isinstance(value, list) or not value:
        return f"expected a list of messages, found {describe(value)}"
    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        message = _read_message(item, number)
        if isinstance(message, str):
            return message
        if message.role == "system" and number > 1:
            return f"expected a system message only in first place, found one in place {number}"
        messages.append(message)
    return tuple(messages)


def _read_message(item: Json, number: int) -> Message | str:
    if not isinstance(item, dict):
        return f"message {number}: expected {{role, content}}, found {describe(item)}"
    # Parquet and arrow fill a column that other rows use with nulls: those are no part of this message.
    extra = [name for name, value in item.items() if name not in ("role", "content") and value is not None]
    if extra:
        return f"message {number}: expected only role and content, found also {listed([key(e) for e in extra])}"
    role = ROLES.get(item["role"]) if isinstance(item.get("role"), str) else None
    if role is None:
        return f"message {number}: expected the role system, user or assistant, found {brief(item.get('role'))}"
    content = item.get("content")
    if not isinstance(content, str) or not content.strip():
        found = describe(content) if not isinstance(content, str) else "a blank text"
        return f"message {number}: expected a text as content, found {found}"
    return Message(role, content)
