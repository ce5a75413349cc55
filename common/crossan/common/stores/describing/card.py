"""A store's card, written as dataset cards are.

It says where the store comes from and what may be done with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import pretty_bytes
from crossan.common.files import replace_durably
from crossan.common.outputs import require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder
from crossan.common.stores.describing.info import describe
from crossan.common.stores.describing.licences import forbids_redistribution

__all__ = ["write_card"]

_TAGS = b"tags: [recommendation, frozen-features"
"""What the header of a card has, by which an earlier one is known."""
_FIRST_FIELD = b'{\n  "absent": '
"""How ``card.json`` begins."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(path: Path, out: Path | None = None) -> tuple[Path, Path]:
    """Write ``README.md`` and ``card.json`` and return their paths.

    Parameters
    ----------
    path
        Folder of the store.
    out
        Folder for the two; None takes the store's own.

    Raises
    ------
    StoreNotFoundError, StoreIntegrityError
        As `describe`.
    UsageError
        One of the two is there and no earlier card, or ``out`` belongs to a dataset, a run
        or another store.
    """
    described = describe(path)
    described.pop("store")
    folder = path if out is None else out
    shown_as = f"card {path}" if out is None else f"--out {out}"
    if folder.resolve() != path.resolve():
        require_outside_of_ours(folder, shown_as)
    require_replaceable(folder / "README.md", lambda start: _TAGS in start, shown_as)
    require_replaceable(
        folder / "card.json", lambda start: start.startswith(_FIRST_FIELD), shown_as
    )
    make_folder(folder)
    replace_durably(folder / "README.md", _markdown(path.name, described).encode())
    replace_durably(folder / "card.json", pretty_bytes(described))
    return folder / "README.md", folder / "card.json"


def _markdown(name: str, described: dict[str, Any]) -> str:
    licences: dict[str, str | None] = described.get("licences", {"backbone": None, "data": None})
    known = {licence for licence in licences.values() if licence}
    # The card's header has room for one licence: it may only name one that covers everything.
    is_one = len(known) == 1 and all(licences.values()) and "; " not in min(known)
    size = next((label for limit, label in _SIZES if described["items"] < limit), "1M<n<10M")
    front = [
        "---",
        f"license: {min(known).lower() if is_one else 'other'}",
        f"pretty_name: {described['modality']} hidden states of {described.get('dataset', name)}",
        f"size_categories: [{size}]",
        f"{_TAGS.decode()}, {described['modality']}]",
        "---",
    ]
    backbone, capture = described["backbone"], described["capture"]
    statuses = ", ".join(
        f"{described[key]:,} {key}" for key in ("ok", "absent", "missing", "quarantined")
    )
    body = [
        f"# {name}",
        "",
        (
            f"Hidden states of a frozen backbone, one row per item: {statuses} "
            f"of {described['items']:,} items."
        ),
        "",
        (
            f"Layers {', '.join(map(str, described['layers']))}, dim {described['dim']}, "
            f"{described['stored_dtype']}."
        ),
        "",
        "## Backbone",
        "",
        (
            f"`{backbone.get('id')}`, revision `{backbone.get('revision')}`; "
            f"licence: {licences['backbone'] or 'not recorded'}."
        ),
        "",
        "## Data",
        "",
        (
            f"{described.get('dataset', 'not recorded')}; "
            f"licence: {licences['data'] or 'not recorded'}."
        ),
        "",
        "## Restrictions",
        "",
        *_restrictions(licences),
        "",
        "## Recipe",
        "",
        *(f"- {key}: {value}" for key, value in sorted({**capture, **described["inputs"]}.items())),
        f"- fingerprint: `{described['fingerprint']}`",
        "",
        "## Versions",
        "",
        *(f"- {entry['version']}: {entry['segments']} segments" for entry in described["versions"]),
        "",
        "## Notes",
        "",
        *([f"- {note}" for note in described["notes"]] or ["None."]),
        "",
        "## Open it",
        "",
        "```python",
        "from crossan.common.stores import open_store",
        "",
        'store = open_store("this folder")',
        "rows = store.read(range(min(4, len(store.item_ids))))  # (item, layer, dim)",
        "```",
        "",
    ]
    return "\n".join([*front, *body])


def _restrictions(licences: dict[str, str | None]) -> list[str]:
    lines = []
    for name, licence in licences.items():
        reason = forbids_redistribution(licence)
        if reason is not None:
            lines.append(f"- {name}: {licence or 'not recorded'}: {reason}.")
    return lines or ["None beyond the licences above."]
