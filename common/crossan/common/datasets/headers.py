"""Whether the first line of a file in a line format is a header.

These formats have none, but many publish them with one, which must not become an
item or a user. What tells it is what its fields are called, or that they alone are
words where all other ids are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["is_sequence_header", "is_title_header", "is_word_among_numbers"]

_ID_HEADERS = {
    *("id", "iid", "item", "items", "itemid", "itemids", "itemlist", "itemsequence", "sequence"),
    *("history", "video", "videoid", "vid", "newsid", "articleid", "productid", "movieid", "asin"),
    *("nid", "pid", "mid", "key", "sku"),
}
_USER_HEADERS = {
    *("user", "users", "userid", "userids", "uid", "customer", "customerid", "visitorid"),
    *("memberid", "accountid", "reviewerid"),
}
_TITLE_HEADERS = {
    *("title", "titles", "text", "texts", "name", "names", "headline", "caption", "captions"),
    *("description", "content", "itemtitle", "itemname", "newstitle", "videotitle"),
}
"""What a header calls its columns, in lower case without blanks, dots, dashes and underscores."""
_NAME_OF_IDS = re.compile(r"[A-Za-z].*([\s_.-](?i:ids?)|[a-z]I[Dd]s?)")
"""A word and then \"id\", set apart from it: ``news_title_id`` and ``articleId``, but not ``madrid``."""
_DIGIT = re.compile(r"[0-9]")


def is_title_header(item: str, title: str) -> bool:
    """Return whether the first line of a file of titles names its columns."""
    if _simplified(item) in _ID_HEADERS or _names_ids(item):
        return True
    return _simplified(title) in _TITLE_HEADERS and not _DIGIT.search(item)


def is_sequence_header(user: str) -> bool:
    """Return whether the first line of a file of sequences names its columns."""
    return _simplified(user) in _USER_HEADERS or _names_ids(user)


def is_word_among_numbers(word: str, others: Collection[str]) -> bool:
    """Return whether an id is a word without digits and all others, two at least, are numbers."""
    is_word = bool(word.strip()) and not _DIGIT.search(word)
    return is_word and len(others) > 1 and all(text.strip().isdecimal() for text in others)


def _names_ids(name: str) -> bool:
    return _NAME_OF_IDS.fullmatch(name.strip()) is not None


def _simplified(name: str) -> str:
    return name.strip().lower().translate(dict.fromkeys(map(ord, "_-. ")))
