"""What errors advise: nothing that loses what a user has."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for root in ("cache_schema", "common", "extract", "train")
    for path in ROOT.glob(f"{root}/**/*.py")
]
LOSING = re.compile(
    r"\b(?:rm|rmdir|unlink|shred|delete|remove(?! the header)|erase|wipe|overwrite|discard|clear out)\b",
    re.I,
)


def texts_of(node):
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def remedies_of(source):
    """Return the texts that are given as a remedy, or bound to a name that says so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "remedy":
            yield from texts_of(node.value)
        elif isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any("remed" in ast.unparse(target) for target in targets):
                yield from texts_of(node.value)


def test_no_remedy_tells_a_user_to_destroy_anything():
    remedies = [
        (str(path.relative_to(ROOT)), text)
        for path in SOURCES
        for text in remedies_of(path.read_text(encoding="utf-8"))
    ]
    assert len(remedies) > 150
    assert [(path, text) for path, text in remedies if LOSING.search(text)] == []


def test_remedies_are_found_however_they_are_given():
    source = (
        'raise E("x", remedy=f"rm -r {out}" if a else b)\nremedy = "Overwrite it"\nremedy += " z"'
    )
    assert set(remedies_of(source)) == {"rm -r ", "Overwrite it", " z"}
    assert LOSING.search("Remove the folder")
    assert not LOSING.search("Run: crossan-train --resume, or choose another --out")
