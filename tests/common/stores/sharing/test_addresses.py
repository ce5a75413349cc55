"""One rule says what an address names: a slash at its end a cache, anything else the store itself."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.stores import fsck
from crossan.common.stores.cli import app
from crossan.common.stores.sharing.objects import ObjectRemote


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def shop(store, tmp_path):
    """Return a store at its place in a cache."""
    place = tmp_path / "cache/shop/text/bert-1"
    place.parent.mkdir(parents=True)
    store.rename(place)
    return place


@pytest.fixture
def team(shop, tmp_path):
    """Return a cache that holds a store already."""
    run("push", shop, f"{tmp_path}/team/")
    return tmp_path / "team"


def snapshot(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_with_a_slash_a_store_keeps_its_place(team):
    assert fsck(team / "shop/text/bert-1").ok
    assert [path.name for path in team.iterdir()] == ["shop"]


def test_without_a_slash_nothing_is_written_into_a_cache(shop, team, tmp_path):
    before = snapshot(team)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target, found in [
        (team, "found shop there"),
        (team / "shop", "found text there"),
        (team / "shop/text", "found bert-1 there"),
        (tmp_path / "empty", "found an empty folder"),
        (tmp_path / "other", "found notes.txt there"),
        (team / "shop/text/bert-1/inside", "expected a folder outside of every store"),
        (f"{team}/shop/text/bert-1/", "expected a folder outside of every store"),
    ]:
        with pytest.raises(UsageError, match=found):
            run("push", shop, target)
    for words in (["push", shop, tmp_path / "file"], ["merge", tmp_path / "file", shop]):
        with pytest.raises(ResourceError, match="file is a file, expected a folder"):
            run(*words)
    assert snapshot(team) == before
    assert not list((tmp_path / "empty").iterdir())
    assert len(list((tmp_path / "other").iterdir())) == 1


NEW_PLACES = [
    "team",
    "shop/team",
    "team/text",
    "shop/notes/bert-1",
    "shop/image/bert-1",
    "shop/text/other",
    "shop/text/other/deeper",
]


@pytest.mark.parametrize("is_relative", [True, False])
@pytest.mark.parametrize(
    "command", ["push {store} {new}", "pull {store} --to {new}", "merge {new} {store}"]
)
def test_a_new_store_in_a_cache_lies_at_its_place_only(
    shop, team, monkeypatch, command, is_relative
):
    before = snapshot(team)
    if is_relative:
        monkeypatch.chdir(team)
    for place in NEW_PLACES:
        words = command.format(store=shop, new=place if is_relative else team / place).split()
        with pytest.raises(UsageError, match=f"found {place} in the cache {team}") as refused:
            run(*words)
        assert f"Name its place there: {team}/shop/text/bert-1" in refused.value.remedy
    assert snapshot(team) == before


def test_a_store_is_not_sent_to_itself(shop):
    with pytest.raises(UsageError) as refused:
        run("push", shop, shop.parents[2] / "team")
    assert refused.value.remedy == "Name a folder outside of the cache"


def test_a_store_is_written_at_its_place_in_a_cache_of_others(shop, team, store_named):
    other = store_named("books/text/bert-2")
    for command in ("push {store} {new}", "pull {store} --to {new}", "merge {new} {store}"):
        new = team / "books/text/bert-2"
        assert run(*command.format(store=other, new=new).split()).exit_code == 0
        assert run(*command.format(store=other, new=new).split()).exit_code == 0  # it is one now
        shutil.rmtree(new.parent.parent)
    run("push", shop, team / "toys/text/bert-1")  # the only one of its dataset and modality
    assert fsck(team / "toys/text/bert-1").ok


@pytest.fixture
def store_named(shop, tmp_path):
    def copied(place):
        shutil.copytree(shop, tmp_path / "more" / place)
        return tmp_path / "more" / place

    return copied


@pytest.mark.parametrize("inside", ["shop/", "shop/text/", "new/", "shop/text/other/"])
def test_with_a_slash_a_folder_in_a_cache_is_no_cache(shop, team, inside):
    before = snapshot(team)
    with pytest.raises(UsageError, match="expected a cache, found") as refused:
        run("push", shop, f"{team}/{inside}")
    assert refused.value.remedy == f"Name the cache itself: {team}/"
    assert snapshot(team) == before


@pytest.mark.parametrize("folder", ["shop", "shop/text"])
def test_the_remedy_names_the_cache_that_was_meant(shop, team, folder):
    with pytest.raises(UsageError) as refused:
        run("push", shop, team / folder)
    assert refused.value.remedy.startswith(f"Write {team}/ for a cache")
    with pytest.raises(UsageError, match="expected a cache, found the folder of a") as refused:
        run("pull", shop, "--cache", team / folder)
    assert refused.value.remedy == f"Name the cache itself: {team}/"


@pytest.mark.parametrize(
    ("file", "owner"), [("dataset.json", "a dataset"), ("cache.lock.json", "a run")]
)
def test_no_store_is_written_into_a_run_or_a_dataset(shop, tmp_path, file, owner):
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    (folder / file).write_text("{}")
    before = snapshot(tmp_path)
    for words in (
        ["push", shop, f"{folder}/"],
        ["push", shop, f"{folder}/sub/"],
        ["push", shop, folder / "new"],
        ["push", shop, folder],
        ["pull", shop, "--to", folder / "new"],
        ["pull", shop, "--cache", folder],
        ["merge", folder / "new", shop],
    ):
        with pytest.raises(UsageError, match=f"outside of every run and dataset, found {owner}"):
            run(*words)
    assert snapshot(tmp_path) == before


def test_a_link_is_named_with_where_it_leads(shop, tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for words in (["push", shop, tmp_path / "link"], ["merge", tmp_path / "link", shop]):
        with pytest.raises(UsageError, match=r"link leads to .*/nowhere, which is not there"):
            run(*words)


def test_without_a_slash_a_store_or_nothing_is_the_store_itself(shop, tmp_path):
    assert run("push", shop, tmp_path / "new").exit_code == 0
    assert run("push", shop, tmp_path / "new").exit_code == 0
    assert fsck(tmp_path / "new").ok


def test_a_store_without_a_place_keeps_none(shop, tmp_path):
    shutil.copytree(shop, tmp_path / "loose")
    with pytest.raises(UsageError, match="expected an address that ends in DATASET/MODALITY/NAME"):
        run("push", tmp_path / "loose", f"{tmp_path}/team/")
    assert not (tmp_path / "team").exists()


def test_dots_in_a_path_do_not_change_the_place(shop, tmp_path):
    run("push", f"{shop.parent}/../text/bert-1", f"{tmp_path}/team/")
    assert fsck(tmp_path / "team/shop/text/bert-1").ok


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull", "{store}", "--to", "{team}"],
        ["pull", "{team}", "--cache", "{new}"],
        ["pull", "{store}", "--to", "{store}/inside"],
        ["merge", "{team}", "{store}"],
        ["merge", "{new}", "{team}"],
        ["merge", "{store}/inside", "{store}"],
        ["export", "mmrec", "{store}", "--out", "{store}"],
        ["export", "mmrec", "{store}", "--out", "{store}/inside"],
        ["export", "mmrec", "{store}", "--out", "{team}"],
        ["ls", "--cache", "{store}"],
        ["import", "x.npy", "--format", "npy", "--modality", "text", "--dataset", "d", "--cache", "{store}"],
    ],
)  # fmt: skip
def test_every_command_tells_a_store_from_a_cache(shop, team, tmp_path, arguments):
    names = {"store": shop, "team": team, "new": tmp_path / "new"}
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="expected"):
        run(*(argument.format(**names) for argument in arguments))
    assert snapshot(tmp_path) == before


def test_an_empty_folder_will_do_where_only_a_store_is_meant(shop, tmp_path):
    (tmp_path / "empty").mkdir()
    run("pull", shop, "--to", tmp_path / "empty")
    (tmp_path / "all").mkdir()
    run("merge", tmp_path / "all", shop)
    assert fsck(tmp_path / "empty").ok
    assert fsck(tmp_path / "all").ok


def test_the_rule_holds_for_buckets(shop, bucket):
    rights = ("--i-have-rights", "--json")
    run("push", shop, f"{bucket}/team/", *rights)
    assert ObjectRemote.open(f"{bucket}/team").names() == {"shop"}
    with pytest.raises(UsageError, match="found shop there"):
        run("push", shop, f"{bucket}/team", *rights)
    with pytest.raises(UsageError, match="expected a cache, found a store"):
        run("push", shop, f"{bucket}/team/shop/text/bert-1/", *rights)
    again = run("push", shop, f"{bucket}/team/shop/text/bert-1", *rights)
    assert json.loads(again.stdout)["segments"] == 0
    for place in ("other", "shop/other", "shop/image/bert-1"):
        with pytest.raises(UsageError, match=f"found {place} in the cache {bucket}/team"):
            run("push", shop, f"{bucket}/team/{place}", *rights)
    with pytest.raises(UsageError, match=f"found shop in the cache {bucket}/team"):
        run("push", shop, f"{bucket}/team/shop/", *rights)
    assert ObjectRemote.open(f"{bucket}/team").names() == {"shop"}
