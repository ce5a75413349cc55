"""Our errors, as plain data that crosses between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crossan.cache_schema import errors
from crossan.cache_schema.errors import CrossanError

__all__ = ["Failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One of our errors, as it crosses between processes."""

    kind: str
    message: str
    remedy: str | None

    @classmethod
    def of(cls, error: CrossanError) -> Failure:
        """Name the error's nearest class that everybody knows."""
        # The other side may lack one of our subclasses: the nearest class that both know is named.
        kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _KNOWN)
        return cls(kind, error.message, error.remedy)

    def as_json(self) -> dict[str, Any]:
        """Return the keyword arguments that make it again, all of them plain values."""
        return asdict(self)

    def error(self) -> CrossanError:
        """Return the error again, of the same class and exit code."""
        return _KNOWN[self.kind](self.message, remedy=self.remedy)


_KNOWN: Mapping[str, type[CrossanError]] = {
    "CrossanError": CrossanError,
    **{name: getattr(errors, name) for name in errors.__all__},
}
