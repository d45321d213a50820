"""Names that people gave, as a page or a figure may show them. Not here: escaping, which whoever writes does."""

from __future__ import annotations

import unicodedata


def readable(text: str) -> str:
    """Return text with what would hide, reorder or break it replaced by a visible mark.

    That is control characters, lone surrogates, and the invisible characters that change the
    direction of what follows (UAX #9); joiners inside emoji stay.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else "�" for character in text)


def _is_harmless(character: str) -> bool:
    return character in "\n\u200c\u200d" or unicodedata.category(character)[0] != "C"


def shorten(text: str, length: int = 40) -> str:
    """Return the beginning of a text that is too long, with an ellipsis for the rest."""
    return text if len(text) <= length else text[: length - 1] + "…"
