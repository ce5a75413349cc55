"""Make one page of run folders and sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.console import note, progress
from crossan.common.files import replace_durably
from crossan.common.outputs import folder_of_ours, require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder, require_writable
from crossan.train.record.run_folder import RunFolder
from crossan.train.report.blocks import Section
from crossan.train.report.gathering import Gathered, gather
from crossan.train.runs.inputs import open_inputs

__all__ = ["LARGEST_PAGE", "Elsewhere", "write_report"]

_TITLE = b"<title>crossan: "
"""What a page has near its beginning, by which an earlier one is known."""
LARGEST_PAGE = 3_000_000
"""Bytes of a page at most; PNG files and then pictures are left out of one that would be larger."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where the user says that the runs' data lie now."""

    dataset: Path | None = None
    cache: Path | None = None


def write_report(
    paths: Sequence[Path],
    out: Path,
    elsewhere: Elsewhere = Elsewhere(),
    *,
    should_compute: bool = True,
) -> None:
    """Write the page of runs and sweeps.

    Parameters
    ----------
    paths
        Run folders and sweep folders, at least one.
    out
        The page.
    elsewhere
        Where the data lie now; they are compared with what the runs recorded.
    should_compute
        Whether to look at items, and to analyse runs that were not, where their
        data are at hand. Without it the page is made of the folders alone.

    Raises
    ------
    IncompatibleError
        The data are not what a run was trained on, or the runs cannot stand in one table.
    UsageError
        A run is not finished, ``out`` is something else than an earlier page or
        lies among files of ours, or ``crossan[report]`` is not installed.
    ResourceError
        ``out`` cannot be written.
    """
    # Before the runs are read: a name that cannot be written should not cost that time.
    _require_writable(out)
    _require_installed()
    gathered = gather(paths)
    if elsewhere != Elsewhere():
        for run in gathered.runs:
            open_inputs(RunFolder(run.folder.path), elsewhere.dataset, elsewhere.cache)
    sections = _sections(gathered, elsewhere, should_compute=should_compute)
    page = _fitting(gathered, sections)
    make_folder(out.parent)
    replace_durably(out, page.encode())


def _sections(gathered: Gathered, elsewhere: Elsewhere, *, should_compute: bool) -> list[Section]:
    """Return the sections that there is something to say in."""
    from crossan.train.report.curves import sweep_section, training_section
    from crossan.train.report.exposure import exposure_section
    from crossan.train.report.headline import headline
    from crossan.train.report.looking import Sources, look_inside
    from crossan.train.report.provenance import provenance_section, settings_section
    from crossan.train.report.slices import slices_section

    entries = gathered.entries
    sources = Sources(elsewhere.dataset, elsewhere.cache, should_compute)
    makers: list[tuple[str, Callable[[], Iterable[Section | None]]]] = [
        ("results", lambda: [headline(entries)]),
        ("sweep", lambda: [sweep_section(gathered.sweeps)]),
        ("slices", lambda: [slices_section(entries), exposure_section(entries)]),
        ("training", lambda: [training_section(entries)]),
        ("models", lambda: look_inside(entries, sources)),
        ("settings", lambda: [settings_section(entries)]),
        ("provenance", lambda: [provenance_section(entries, elsewhere.cache)]),
    ]
    sections: list[Section] = []
    with progress("report", len(makers), "sections") as shown:
        for name, make in makers:
            sections += [section for section in make() if section is not None]
            shown.advance(detail=name)
    return sections


def _fitting(gathered: Gathered, sections: Sequence[Section]) -> str:
    """Return the page, without what can be spared where it would be too large."""
    page = ""
    for has_png, has_pictures in ((True, True), (False, True), (False, False)):
        page = _rendered(gathered, sections, has_png=has_png, has_pictures=has_pictures)
        if len(page.encode()) <= LARGEST_PAGE:
            break
    else:
        note(f"the page has {len(page.encode()) / 1e6:.1f} MB; name fewer runs for a smaller one")
    return page


def _rendered(
    gathered: Gathered, sections: Sequence[Section], *, has_png: bool, has_pictures: bool
) -> str:
    import jinja2

    from crossan.train.report.summary import summary

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts: dict[str, Any] = summary(gathered.entries, gathered.sweeps)
    return environment.get_template("page.html.jinja").render(
        **facts, sections=sections, has_png=has_png, has_pictures=has_pictures
    )


def _require_installed() -> None:
    try:
        import jinja2
        import matplotlib.figure
    except ModuleNotFoundError as error:
        raise UsageError(
            f"report: {error.name} is not installed", remedy="pip install 'crossan[report]'"
        ) from None
    except OSError as error:  # matplotlib keeps its list of fonts in a file
        raise ResourceError(
            f"report: matplotlib found no folder for its cache: {error}",
            remedy="Set MPLCONFIGDIR to a folder that can be written",
        ) from error
    del jinja2, matplotlib


def _require_writable(out: Path) -> None:
    shown_as = f"--out {out}"
    if out.is_dir():
        raise UsageError(
            f"{shown_as}: expected a file to write, found a folder",
            remedy=f"Name a file in it: --out {out}/report.html",
        )
    require_writable(out.absolute().parent, shown_as)
    ours = folder_of_ours(out.parent)
    if ours is not None:
        kind, root = ours
        # Beside the own files of a run or sweep, none of which is named so.
        is_page = out.parent.resolve() == root and out.suffix == ".html"
        if kind not in {"run", "sweep"} or not is_page:
            require_outside_of_ours(out.parent, shown_as)
    require_replaceable(out, lambda start: _TITLE in start, shown_as)
