"""What pydantic finds wrong with a request, in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["first_problem"]

_PARTS_OF_REQUESTS = {"body", "query", "path", "header", "cookie"}
_WORDS: Mapping[str, str] = {
    "extra_forbidden": "expected no such field",
    "missing": "expected a value, found none",
    "json_invalid": "expected JSON",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} characters",
    "too_long": "expected at most {max_length} values",
    "too_short": "expected at least {min_length} values",
    "string_pattern_mismatch": "expected a text that matches {pattern}",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
}


def first_problem(problems: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the field of the first problem, dotted, and a message that begins with it.

    Parameters
    ----------
    problems
        What ``errors()`` of a pydantic error gives; there is at least one.
    """
    problem = problems[0]
    parts = [str(part) for part in problem["loc"]]
    if len(parts) > 1 and parts[0] in _PARTS_OF_REQUESTS:
        parts = parts[1:]
    field = ".".join(parts) or "body"
    words = _WORDS.get(problem["type"])
    if words is not None:
        text = words.format_map(problem.get("ctx", {}))
    else:
        text = str(problem["msg"]).removeprefix("Value error, ")
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return field, f"{field}: {text}{more}"
