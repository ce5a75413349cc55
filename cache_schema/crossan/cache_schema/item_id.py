"""What an item id or a user id can be, in every dataset and every store."""

from __future__ import annotations

__all__ = ["LONGEST_ID_BYTES", "id_fault", "named", "shortened"]

LONGEST_ID_BYTES = 1_024
"""The longest id, in bytes of UTF-8.

Tables of ids have one width, that of the longest: one id of a megabyte would make
every other a megabyte.
"""

_SHOWN_CHARACTERS = 40


def id_fault(text: str, what: str = "an id") -> str | None:
    """Return why a text is no id, as the end of a message, and None for an id.

    An id is 1 to 1,024 bytes of UTF-8 without NUL.

    Parameters
    ----------
    text
        What should be an id.
    what
        What the message calls it.
    """
    if not text or "\0" in text:
        return f"expected {what} without NUL and not empty, found {shortened(text)}"
    try:
        byte_count = len(text.encode())
    except UnicodeEncodeError:
        return f"expected {what} of valid Unicode, surrogates not allowed, found {shortened(text)}"
    if byte_count > LONGEST_ID_BYTES:
        return (
            f"expected {what} of at most {LONGEST_ID_BYTES:,} bytes, "
            f"found {byte_count:,}: {shortened(text)}"
        )
    return None


def shortened(value: object) -> str:
    """Return ``repr(value)`` for a message, cut after 40 characters."""
    shown = repr(value)
    if len(shown) <= _SHOWN_CHARACTERS:
        return shown
    count = len(value) if isinstance(value, str) else len(shown)
    return f"{shown[:_SHOWN_CHARACTERS]}... ({count:,} characters)"


def named(text: str) -> str:
    """Return an id for a message: without quotes where nobody could mistake it, else shortened.

    Quotes stay around one that is empty, long, or has a character that is shown as an escape.
    """
    shown = shortened(text)
    return text if shown[1:-1] == text and text.strip() == text != "" else shown
