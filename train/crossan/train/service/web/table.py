"""Which routes there are, and the role that each needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.routing import BaseRoute, Route, compile_path

from crossan.train.service.web.roles import Role, is_lasting, role_of, turns_of

__all__ = ["RouteEntry", "RouteTable"]


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route for its methods."""

    template: str
    """Its path, for example ``/v1/runs/{run_id}``."""
    methods: frozenset[str]
    role: Role | None
    """None refuses every caller."""
    is_lasting: bool = False
    """Whether its answers go on for as long as the client likes."""
    turns: int = 2
    """How many requests of one token it may have in hand."""


class RouteTable:
    """The routes of an application, looked up before the application sees a request.

    Only plain routes are in it. Whatever else an application may be given, a mounted one for
    example, no request reaches.

    Parameters
    ----------
    routes
        Of the application, in the order in which it tries them.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._exact: dict[str, list[RouteEntry]] = {}
        self._patterns: list[tuple[re.Pattern[str], RouteEntry]] = []
        for route in routes:
            if not isinstance(route, Route):
                continue
            entry = RouteEntry(
                route.path,
                frozenset(route.methods or ()),
                role_of(route.endpoint),
                is_lasting(route.endpoint),
                turns_of(route.endpoint),
            )
            if "{" in route.path:
                self._patterns.append((compile_path(route.path)[0], entry))
            else:
                self._exact.setdefault(route.path, []).append(entry)

    def __iter__(self) -> Iterator[RouteEntry]:
        """Yield every route."""
        for entries in self._exact.values():
            yield from entries
        yield from (entry for _, entry in self._patterns)

    def entries_of(self, path: str) -> list[RouteEntry]:
        """Return the routes that a path may mean, for whichever method."""
        if path in self._exact:
            return self._exact[path]
        return [entry for pattern, entry in self._patterns if pattern.match(path)]
