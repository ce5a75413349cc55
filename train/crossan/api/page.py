"""The page ``docs/api.md``, made of the docstrings of what is promised.

``python -m crossan.api.page > docs/api.md`` writes it anew.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property

import crossan.api

__all__ = ["api_page"]

_HEAD = """\
# crossan from Python

What `crossan.api` promises: these names keep their meaning, and a change is announced in the
changelog. Everything else in crossan may change. The page is made of the docstrings by
`python -m crossan.api.page > docs/api.md`, and a test fails while it is out of date. Its examples
run in `tests/api/`, where `dataset`, `cache` and `run` are opened as the first ones show.

Start with [use crossan from Python](howto/use-from-python.md), or with the notebook
[quickstart](notebook/quickstart.ipynb).
"""
_ORDER = (
    "open_dataset",
    "Dataset",
    "open_cache",
    "Cache",
    "Store",
    "train",
    "BatchScores",
    "open_run",
    "Run",
    "CrossanError",
    "UsageError",
    "ConfigError",
    "UnknownIdError",
    "DataError",
)
_SECTIONS = ("Parameters", "Returns", "Raises", "Examples")


def api_page() -> str:
    """Return the whole page."""
    assert set(_ORDER) == set(crossan.api.__all__)
    parts = [_HEAD]
    for name in _ORDER:
        parts += _entry(name, getattr(crossan.api, name), "##")
    return "\n".join(parts)


def _entry(name: str, thing: object, mark: str) -> Iterator[str]:
    yield f"{mark} `{name}`\n"
    if inspect.isfunction(thing) and not name.endswith("]"):
        yield _code(_signature(name.rpartition(".")[2], thing))
    elif inspect.isclass(thing) and issubclass(thing, Exception):
        bases = ", ".join(f"`{base.__name__}`" for base in thing.__bases__)
        yield f"An error, and of these kinds: {bases}.\n"
    yield from _text(inspect.getdoc(thing) or "")
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    if is_dataclass(thing):
        yield from _fields(thing)
        return
    for part_name, part in vars(thing).items():
        if part_name == "__getitem__" and inspect.isfunction(part):
            yield from _entry(f"{name}[modality]", part, "###")
        elif not part_name.startswith("_"):
            value = part.func if isinstance(part, cached_property) else part
            value = value.fget if isinstance(value, property) else value
            shown = f"{name}.{part_name}"
            if inspect.isfunction(part):
                yield from _entry(shown, value, "###")
            else:
                yield f"### `{shown}`\n"
                yield from _text(inspect.getdoc(value) or "")


def _fields(thing: type) -> Iterator[str]:
    """Yield the fields of a dataclass, each with the docstring that stands below it."""
    source = inspect.getsource(thing)
    for field in fields(thing):
        match = re.search(rf'^    {field.name}: .*?\n    """(.*?)"""', source, re.M | re.S)
        assert match is not None
        yield f"- `{field.name}`: {_inline(' '.join(match.group(1).split()))}"
    yield ""


def _signature(name: str, function: object) -> str:
    """Return a call with one parameter to a line where there are several."""
    assert callable(function)
    parameters = list(inspect.signature(function).parameters.values())
    shown: list[str] = []
    is_keyword_only = False
    for parameter in parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            shown.append("*")
        shown.append(_parameter(parameter))
    returned = inspect.signature(function).return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {returned}"
    line = f"{name}({', '.join(shown)}){arrow}"
    if len(line) <= 96:
        return line
    listed = "".join(f"    {one},\n" for one in shown)
    return f"{name}(\n{listed}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    """Return a parameter with its annotation, which is text here, and its default."""
    star = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{star}{parameter.name}: {parameter.annotation}{default}"


def _text(docstring: str) -> Iterator[str]:
    """Yield a docstring in Markdown: its paragraphs, then its sections."""
    parts = re.split(rf"^({'|'.join(_SECTIONS)})\n-+\n", docstring, flags=re.M)
    yield _inline(parts[0].strip()) + "\n"
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title == "Examples":
            yield from _examples(body)
        else:
            yield "".join(_table(title, body))


def _table(title: str, body: str) -> Iterator[str]:
    yield f"| {title.lower()} | |\n|---|---|\n"
    # A name at the margin, what it means indented below it.
    for match in re.finditer(r"^(\S.*)\n((?:[ ]+.*\n?|\n)*)", body.strip() + "\n", re.M):
        names = ", ".join(f"`{one}`" for one in match.group(1).split(", "))
        meaning = _inline(" ".join(match.group(2).split())).replace("|", "\\|")
        yield f"| {names} | {meaning} |\n"


def _examples(body: str) -> Iterator[str]:
    """Yield prose as it is, and what an interpreter shows as code."""
    for block in re.split(r"\n\s*\n(?!\.\.\.)", body.strip()):
        if block.startswith(">>>"):
            yield _code(block, "pycon")
        else:
            yield _inline(block) + "\n"


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```\n"


def _inline(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(api_page())
