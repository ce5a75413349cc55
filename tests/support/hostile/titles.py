"""Titles that break what takes text for harmless."""

from __future__ import annotations

_CRAFTED = (
    "", " ", "\t\n\r", "\u00a0\u2003\u3000", "\x00", "before\x00after", "\x07\x08\x1b[2J\x1b[31m", "\x7f\x80\x9f",
    "\u200b", "\u200d\u200d", "\u2060", "\ufeff", "\u202e", "\u202egnp.exe", "\u2066\u2067\u2068 abc \u2069", "\ufffd",
    "\ufffe\uffff", "\U0010ffff", "\ue000", "\u0301", "\u0301" * 5_000, "a" + "\u0301" * 20_000, "\u0e33" * 3_000,
    "👩‍👩‍👧‍👦", "👩\u200d" * 4_000 + "👦", "🏳️‍🌈" * 2_000, "🇦" * 999, "مرحبا بالعالم", "\u0627\u0644\u0644\u0647" * 500, "﷽" * 300,
    "'; DROP TABLE items; --", "$(touch pwned)", "`touch pwned`", "| rm -rf /", "; exit 3", "--max-bad", "-h", "%s%n%x%p",
    "{0.__class__}", "{{7*7}}", "${jndi:ldap://127.0.0.1/a}", "../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd",
    "http://127.0.0.1:9/", "C:\\NUL", "CON", "[CLS][SEP][MASK][PAD][UNK]", "[MASK]" * 3_000, "##s ##ing", "</s><s><pad>",
    "<script>alert(1)</script>", "null", "None", "NaN", "-1", "true", "\\u0000", "\\", '"', "'", "\r\n", "a\u2028b\u2029c",
    "0" * 100_000, "a" * 1_000_000, "a " * 500_000, "字" * 333_333, "\u0301" * 500_000, "💥" * 250_000, "." * 1_000_000,
    "\x00" * 1_000_000, " " * 1_000_000, " " * 999_999 + "a",
)  # fmt: skip
_ALPHABETS = (
    [chr(point) for point in range(0x20)],
    [chr(point) for point in range(0x300, 0x370)],
    [
        chr(point)
        for point in (
            *range(0x200B, 0x2010),
            *range(0x202A, 0x202F),
            *range(0x2060, 0x2070),
            0xFEFF,
        )
    ],
    [chr(point) for point in (*range(0x590, 0x5F5), *range(0x600, 0x700))],
    [chr(point) for point in (*range(0x1F300, 0x1F650), 0x200D, 0xFE0F, *range(0x1F3FB, 0x1F400))],
    [chr(point) for point in range(0x4E00, 0x4F00)],
    [chr(point) for point in range(0x20, 0x7F)],
)


def hostile_titles(random, count):
    """Return ``count`` titles that a Parquet file can hold: UTF-8, so no lone surrogates."""
    titles = random.sample(_CRAFTED, min(count // 2, len(_CRAFTED)))
    while len(titles) < count:
        kind = random.randrange(3)
        if kind == 0:
            alphabet = random.choice(_ALPHABETS)
            titles.append("".join(random.choices(alphabet, k=random.choice((1, 5, 50, 2_000)))))
        elif kind == 1:
            letters = random.choices(
                [letter for alphabet in _ALPHABETS for letter in alphabet], k=random.randint(1, 300)
            )
            titles.append("".join(letters))
        else:
            titles.append("".join(_any_character(random) for _ in range(random.randint(1, 400))))
    return titles


def _any_character(random):
    point = random.randrange(0x110000 - 0x800)
    return chr(point if point < 0xD800 else point + 0x800)
