"""`crossan report` of runs whose data are at hand: items, analysis, stores; and looked at by a browser."""

import shutil
import subprocess

import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.datasets import open_dataset
from crossan.train.cli import train
from crossan.train.report import pictures
from crossan.train.report.page import Elsewhere, write_report
from support.commands import QUICK, run, training
from support.fabricated import make_sequences, write_rows
from support.pages import Page
from support.reported import undrawn_figures

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(place):
    """Two runs on the same data, one of which only counts."""
    run(train, *training(place, (*QUICK, "features.standardise=none", "max_epochs=1"), out="ours"))
    run(train, *training(place, ("model.kind=popularity",), out="popularity"))
    return [place / "ours", place / "popularity"]


def page_of(runs, out, *arguments, **options):
    with undrawn_figures():
        write_report(runs, out, *arguments, **options)
    return Page(out.read_text())


@pytest.fixture(scope="module")
def page(runs):
    return page_of(runs, runs[0].parent / "page.html")


def test_items_are_shown_with_their_titles_and_users_without_their_ids(page):
    text = page.words()
    for heading in ("Cold items, best ranked", "User 3", "Worst misses", "Nearest neighbours"):
        assert heading in text
    assert "title of i" in text
    assert "u001" not in text
    marked = [one for one in page.all("li") if one.get("class") == "target"]
    assert len(marked) >= 3


def test_what_is_shown_of_a_user_is_what_the_model_would_show(runs):
    from crossan.train.record.user_ranks import read_user_ranks
    from crossan.train.report.items import items_section
    from crossan.train.runs.opening import open_run

    opened = open_run(runs[0], device="cpu")
    ranks = read_user_ranks(runs[0], "test")
    section = items_section(opened, ranks, "ours")
    users = [one for one in section.blocks if one.title.startswith("User")]
    assert len(users) == 3
    seen = []
    for cards in users:
        by_label = {shelf.label.partition(",")[0]: shelf.items for shelf in cards.shelves}
        history, shown = by_label["History"], by_label["Shown first"]
        assert not {item.item_id for item in history} & {item.item_id for item in shown}
        assert len(shown) == 10
        hits = [item for item in shown if item.tag]
        missed = by_label.get("Target", [])
        assert len(hits) + len(missed) == 1
        # The place in the list is the rank, but for what the history masks and for ties.
        rank = int((hits or missed)[0].detail.removeprefix("rank "))
        assert (rank <= 10) == bool(hits)
        assert rank in ranks.ranks
        seen.append(rank)
    assert seen == sorted(seen)


def test_the_analysis_is_made_where_there_is_none(page):
    files = page.downloads()
    assert {"layers-1.csv", "mutual-information.csv"} <= files.keys()
    header, *rows = files["layers-1.csv"].decode().splitlines()
    assert header.startswith("modality,layer,items,variance")
    assert len(rows) == 4  # two modalities of two layers


def test_stores_are_named_with_counts_and_licences(page):
    text = page.words()
    assert "made-up" in text
    assert "backbone: not recorded" in text
    assert "0 unwinnable" in text or "test targets are unwinnable" in text


def test_a_random_split_is_named_and_not_mixed_with_another(runs, tmp_path):
    place = runs[0].parent
    given = ("model.kind=popularity", "data.split=mmrec-random", "data.split_seed=7")
    run(train, *training(place, given, out="random"))
    text = page_of([place / "random"], tmp_path / "page.html").words()
    assert "split mmrec-random with seed 7" in text
    assert "History, in no order" in text
    with pytest.raises(IncompatibleError, match=r"(?s)split: .*leave-last-out and mmrec-random"):
        page_of([runs[1], place / "random"], tmp_path / "page.html")


def test_a_model_that_counts_has_items_and_no_neighbours(runs, tmp_path):
    text = page_of(runs[1:], tmp_path / "page.html").words()
    assert "User 3" in text
    assert "Nearest neighbours" not in text
    assert "these models only count" in text


def test_data_that_moved_are_found_where_the_user_says(runs, tmp_path):
    place = runs[0].parent
    for name in ("d", "c"):
        shutil.copytree(place / name, tmp_path / name)
    moved = Elsewhere(tmp_path / "d", tmp_path / "c")
    page = page_of(runs[:1], tmp_path / "page.html", moved)
    assert "Nearest neighbours" in page.words()


def test_pictures_come_from_whoever_makes_them(tmp_path, monkeypatch):
    from PIL import Image

    from crossan.extract.media.thumbnail import image_thumbnail, video_thumbnail

    class Point:
        def load(self):
            return image_thumbnail

    Image.new("RGB", (300, 100), (200, 30, 30)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    media = {"image": {"i00": "a.png", "i01": "broken.png", "i02": "gone.png"}}
    write_rows(tmp_path, make_sequences(), media=media)
    monkeypatch.setattr(
        pictures, "entry_points", lambda group, name: [Point()] if name == "image" else []
    )
    found = pictures.look_up(open_dataset(tmp_path), ["i00", "i01", "i02", "i03", "nobody"])
    assert found["i00"][0] == "title of i00"
    assert found["i00"][1].startswith("data:image/jpeg;base64,")
    assert {found[name][1] for name in ("i01", "i02", "i03", "nobody")} == {""}
    assert found["nobody"] == ("", "")
    assert image_thumbnail(tmp_path / "a.png", 96)[:2] == b"\xff\xd8"
    assert video_thumbnail.__module__ == "crossan.extract.media.thumbnail"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_in_both_themes(runs, tmp_path, scheme):
    """Without a script and a network, on a ground of the theme, with something drawn on it."""
    import numpy as np
    from PIL import Image

    page = runs[0].parent / "drawn.html"
    if not page.exists():
        write_report(runs[:1], page, should_compute=False)
    shot = tmp_path / "shot.png"
    # The page's own policy forbids scripts; a browser without any takes no picture.
    preference = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    subprocess.run(
        [CHROMIUM, *FLAGS, preference, f"--user-data-dir={tmp_path}/chromium", "--window-size=900,1600",
         f"--screenshot={shot}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = np.asarray(Image.open(shot).convert("L")).astype(int)
    ground = int(pixels[2, 2])
    assert ground > 200 if scheme == "light" else ground < 60
    assert (abs(pixels - ground) > 40).mean() > 0.01
