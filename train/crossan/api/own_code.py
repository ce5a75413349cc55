"""A fusion and an objective that a caller passes in, under the names that a run records."""

from __future__ import annotations

from crossan.api.errors import UsageError
from crossan.common.code_names import code_name, is_importable, names_code
from crossan.common.console import note
from crossan.train.settings import ContentSettings, RunSettings

__all__ = ["name_of", "note_if_lost", "used_by"]


def name_of(part: object) -> str:
    """Return what a run records of a part: its own name, or that of code."""
    return part if isinstance(part, str) else code_name(part)


def note_if_lost(part: object, argument: str) -> None:
    """Say where another process will not find a part that a run is about to record."""
    if isinstance(part, str) or part is None:
        return
    name = code_name(part)
    if not is_importable(name, part):
        note(
            f"{argument}: {name} is in no module that another process can import, so commands will"
            f" not open this run; here open_run(..., {argument}=...) does"
        )


def used_by(settings: RunSettings, fusion: object, objective: object) -> dict[str, object]:
    """Return the parts that a run is opened with, by the names that it recorded.

    Raises
    ------
    UsageError
        The run recorded none that such a part could be.
    """
    model = settings.model
    recorded = {
        "fusion": model.fusion if isinstance(model, ContentSettings) else None,
        "objective": settings.objective.kind,
    }
    parts: dict[str, object] = {}
    for argument, part in (("fusion", fusion), ("objective", objective)):
        if part is None or isinstance(part, str):
            continue
        name = recorded[argument]
        if name is None or not names_code(name):
            raise UsageError(
                f"{argument}: expected none, as the run was not trained with one of your own but"
                f" with {name or 'none'}"
            )
        parts[name] = part
    return parts
