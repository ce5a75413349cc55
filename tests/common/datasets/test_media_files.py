"""Media are found by the names of files, and what becomes of each file is said."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets.media_files import folders_by_name, match_media
from support.counts import of_full


def make_files(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def match(folder, items, *, is_requested=True, modality=Modality.IMAGE):
    folders = folder if isinstance(folder, list) else [folder]
    return match_media(folders, modality, items, is_requested=is_requested)


def taken(folder, items, **options):
    """Return the path below the folder that each item gets."""
    paths, _ = match(folder, items, **options)
    return {item: os.path.relpath(path, folder) for item, path in paths.items()}


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("3.jpg", "3"),
        ("3.JPG", "3"),
        ("3.GIF", "3"),
        ("3.jfif", "3"),
        ("3", "3"),
        ("00003.jpg", "3"),
        ("3.jpg", "00003"),
        ("0/3.jpg", "3"),
        ("a/b/c/3.jpg", "3"),
        (unicodedata.normalize("NFD", "é.jpg"), "é"),
        ("é.jpg", unicodedata.normalize("NFD", "é")),
        ("v1.5.jpg", "v1.5"),
        ("v1.5", "v1.5"),
        ("3.jpg", "3.jpg"),
        ("3.jpg", "3.0"),
    ],
)
def test_a_name_that_can_mean_one_item_is_taken(tmp_path, name, item):
    make_files(tmp_path, [name])
    assert taken(tmp_path, [item, "another"]) == {item: name}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # Of two files one counts: that in no sub-folder, then the first by name.
        (["3.jpg", "3.png"], {"3": "3.jpg"}),
        (["a/3.jpg", "3.png"], {"3": "3.png"}),
        (["a/3.jpg", "a/3.png"], {"3": "a/3.jpg"}),
        # A folder for each size, or for each item: which is meant is not known.
        (["large/3.jpg", "small/3.jpg", "large/4.jpg"], {"4": "large/4.jpg"}),
        # An exact name comes before others, which are nobody's then.
        (["3.jpg", "03.jpg", "003.jpg"], {"3": "3.jpg"}),
        (["03.jpg", "003.jpg", "4.jpg"], {"4": "4.jpg"}),
        # What a decoder does not read is passed over.
        (["3.heic", "4.jpg", "4.txt", ".DS_Store"], {"4": "4.jpg"}),
    ],
)
def test_which_file_counts(tmp_path, names, expected):
    make_files(tmp_path, names)
    assert taken(tmp_path, ["3", "4"]) == expected


def test_all_that_is_not_taken_is_said_with_examples(tmp_path):
    names = ["3.jpg", "3.png", "4.heic", "Thumbs.db", "s/5.jpg", "l/5.jpg", "stranger.jpg"]
    make_files(tmp_path / "covers", names)
    os.mkfifo(tmp_path / "covers" / "6.jpg")
    _, reading = match(tmp_path / "covers", ["3", "4", "5", "6"])
    assert reading.files == 8
    assert (reading.join.matched, reading.join.unmatched.examples) == (1, ("4", "5", "6"))
    assert reading.join.unused.examples == ("covers/stranger.jpg",)
    assert reading.second.examples == ("covers/3.png beside covers/3.jpg",)
    assert {reason: said.examples for reason, said in reading.passed_over.items()} == {
        "suffix .heic": ("covers/4.heic",),
        "suffix .db": ("covers/Thumbs.db",),
        "not a regular file": ("covers/6.jpg",),
        "in several sub-folders": ("covers/l/5.jpg", "covers/s/5.jpg"),
    }


def test_the_first_folder_comes_first(tmp_path):
    make_files(tmp_path, ["covers/3.jpg", "images/3.jpg", "images/4.jpg"])
    folders = folders_by_name(tmp_path, Modality.IMAGE)
    paths, reading = match(folders, ["3", "4"])
    assert paths == {"3": f"{tmp_path}/covers/3.jpg", "4": f"{tmp_path}/images/4.jpg"}
    assert reading.second.examples == ("images/3.jpg beside covers/3.jpg",)


def test_a_link_to_a_folder_is_followed_once(tmp_path):
    make_files(tmp_path / "elsewhere", ["3.jpg"])
    make_files(tmp_path / "covers", ["4.jpg"])
    (tmp_path / "covers" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "covers" / "round").symlink_to(tmp_path / "covers")
    assert taken(tmp_path / "covers", ["3", "4"]) == {"3": "more/3.jpg", "4": "4.jpg"}


def test_a_name_that_is_no_utf_8_is_passed_over(tmp_path):
    make_files(tmp_path, ["3.jpg"])
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.jpg", os.O_CREAT))
    _, reading = match(tmp_path, ["3"])
    assert reading.passed_over["names that are not UTF-8"].examples == (
        f"{tmp_path.name}/\\xff.jpg",
    )
    reading.model_dump_json()


@pytest.mark.parametrize("names", [["a.jpg", "b.jpg"], ["3.heic"], ["s/3.jpg", "l/3.jpg"]])
@pytest.mark.parametrize("is_requested", [True, False])
def test_files_of_which_none_is_an_item_s_are_refused(tmp_path, names, is_requested):
    make_files(tmp_path / "covers", names)
    with pytest.raises(DataError, match="expected image files named by item, such as 3, 4") as no:
        match(tmp_path / "covers", ["3", "4"], is_requested=is_requested)
    assert names[0] in no.value.message
    assert "--images FOLDER" in no.value.remedy


def test_a_folder_without_media_is_refused_only_on_request(tmp_path):
    make_files(tmp_path / "covers", ["README.txt"])
    paths, reading = match(tmp_path / "covers", ["3"], is_requested=False)
    assert (paths, reading.files) == ({}, 1)
    with pytest.raises(DataError, match="none of 1 files is"):
        match(tmp_path / "covers", ["3"])
    with pytest.raises(UsageError, match="expected a folder of media, found none"):
        match(tmp_path / "nowhere", ["3"])


STEMS = st.sampled_from(["1", "01", "2", "2.0", "x", "e\u0301", "\xe9", "v1.5", " 1"])
NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "a/", "b/", "a/c/"]),
        STEMS,
        st.sampled_from([".jpg", ".PNG", "", ".t"]),
    ),
)


@settings(max_examples=of_full(60, 20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES, min_size=1, max_size=8), items=st.sets(STEMS, min_size=1, max_size=5))
def test_every_file_and_every_item_is_accounted_for(tmp_path_factory, names, items):
    folder = make_files(tmp_path_factory.mktemp("media") / "covers", names)
    try:
        paths, reading = match(folder, sorted(items))
    except DataError:
        # Refused: no item has a file of its very name that a decoder reads.
        exact = [item for item in items if f"{item}.jpg" in names or f"{item}.PNG" in names]
        assert exact == []
        return
    passed_over = sum(examples.count for examples in reading.passed_over.values())
    ends = (reading.join.matched, reading.second.count, reading.join.unused.count, passed_over)
    assert sum(ends) == reading.files == len(names)
    assert len(paths) == reading.join.matched == len(set(paths.values()))
    assert len(paths) + reading.join.unmatched.count == len(items)
    assert all(Path(path).is_file() for path in paths.values())
