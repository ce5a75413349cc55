"""Titles and files that a table of items names: each counted, and none at all refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from support.imports import LOG, imported, make, run


def test_paths_without_a_file_are_said(tmp_path):
    items = "item_id,title,image\n1,one,a.jpg\n2,two,b.jpg\n3,three,\n"
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items, a_jpg="x")
    report, _, _ = imported(source, tmp_path / "d")
    media = report["media"][0]
    assert (media["source"], media["files"], media["join"]["matched"]) == ("column", 2, 1)
    assert media["passed_over"] == {
        "no such file": {"count": 1, "examples": [str(source / "b.jpg")]}
    }
    assert media["join"]["unmatched"]["examples"] == ["2", "3"]
    assert report["unread"]["count"] == 0


def test_web_addresses_are_no_files(tmp_path):
    items = "item_id,title,image\n1,one,https://shop.example/1.jpg\n2,two,\n"
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items)
    report, _, rows = imported(source, tmp_path / "d")
    assert [row[2] for row in rows] == [None] * 3
    assert report["tables"][1]["ignored"] == ["image"]
    assert report["tables"][1]["notes"] == [
        "image: 1 of 1 values are addresses and no files, such as 'https://shop.example/1.jpg'"
    ]
    with pytest.raises(
        DataError, match="column image: expected paths of files; image: 1 of 1 values are addresses"
    ):
        run("import", source, "--out", tmp_path / "e", "--column", "image=image")


@given(kinds=st.lists(st.sampled_from(["file", "address", "lost", "none"]), min_size=1))
@settings(max_examples=20)
def test_every_path_of_a_column_is_counted_once(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("s")
    values = {"address": "https://x.example/{}.jpg", "file": "{}.jpg", "lost": "no/{}.jpg"}
    rows = [f"{n},t,{values.get(kind, '').format(n)}" for n, kind in enumerate(kinds)]
    make(
        folder,
        interactions_csv="user_id,item_id\nu,0\n",
        items_csv="item_id,title,image\n" + "\n".join(rows),
        **{f"{n}_jpg": "x" for n, kind in enumerate(kinds) if kind == "file"},
    )
    try:
        report, _, items = imported(folder, folder / "d")
    except DataError:
        assert (kinds.count("file"), kinds.count("lost") > 0) == (0, True)
        return
    taken = [bool(row[2]) for row in items]
    assert taken == [kind in ("file", "lost") for kind in kinds]
    notes = "".join(report["tables"][1]["notes"])
    assert ("address" in kinds) == ("are addresses and no files" in notes)
    assert ("image" in report["tables"][1]["ignored"]) == ("address" in kinds and not any(taken))
    if any(taken):
        join = report["media"][0]["join"]
        assert join["matched"] == kinds.count("file")
        assert join["matched"] + join["unmatched"]["count"] == len(kinds)


def test_paths_none_of_which_leads_to_a_file_are_refused_unless_they_are_of_elsewhere(tmp_path):
    items = "item_id,title,image\n1,one,c/a.jpg\n2,two,c/b.jpg\n"
    source = make(tmp_path / "s", interactions_csv=LOG + "u,2,1700000009\n", items_csv=items)
    with pytest.raises(DataError, match="column image: expected paths .* found none of 2") as no:
        run("import", source, "--out", tmp_path / "d")
    assert no.value.remedy.endswith("--media-elsewhere")
    report, _, rows = imported(source, tmp_path / "d", "--media-elsewhere")
    assert report["media"][0]["join"]["unmatched"]["count"] == 3
    assert rows[0][2] == str(source / "c/a.jpg")
    with pytest.raises(DataError, match="expected image files of its items, found none of 2"):
        run("check", "--min-items=3", tmp_path / "d")
    run("check", "--min-items=3", tmp_path / "d", "--media-elsewhere")
    with pytest.raises(DataError, match="column image: expected paths .* found none of 2"):
        run("update", tmp_path / "d", "--items", source / "items.csv")
    run("update", tmp_path / "d", "--items", source / "items.csv", "--media-elsewhere")
    (source / "p").mkdir()
    (source / "p" / "1.png").write_bytes(b"x")
    imported(source, tmp_path / "e", "--images", source / "p")
    run("check", "--min-items=3", tmp_path / "e")


@pytest.mark.parametrize("items", ["item_id,heading\n1,one\n2,two\n", "item_id,title\n1,\n2, \n"])
def test_a_table_of_items_without_titles_and_media_is_refused(tmp_path, items):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items)
    with pytest.raises(DataError, match="items.csv: expected titles or media") as refused:
        run("import", source, "--out", tmp_path / "d")
    assert "--column title=NAME" in refused.value.remedy
    assert ("heading" in refused.value.message) == ("heading" in items)
    (source / "p").mkdir()
    (source / "p" / "1.png").write_bytes(b"x")
    imported(source, tmp_path / "d", "--images", source / "p")
    with pytest.raises(DataError, match="items.csv: expected titles or media"):
        run("update", tmp_path / "d", "--items", source / "items.csv")
