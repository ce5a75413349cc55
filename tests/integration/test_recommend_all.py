"""crossan recommend --all-users: the lists of --user, in one file that is whole or not there."""

import json

import pyarrow.parquet as pq
import pytest

from crossan import api
from crossan.cache_schema.errors import UsageError
from crossan.train.cli import recommend
from crossan.train.runs import top_lists
from crossan.train.runs.opening import open_run
from support.commands import run, train_quickly
from support.fabricated import write_small

KINDS = ("crossan", "sasrec", "popularity", "markov", "item-knn")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("everyone"))
    for kind in KINDS:
        train_quickly(place, "--model", kind, out=kind, epochs=1)
    return place


def lists_in(path):
    """Return each user's items and scores in the order of the file, by user in that order."""
    lists = {}
    for row in pq.read_table(path).to_pylist():
        of_user = lists.setdefault(row["user_id"], [])
        of_user.append((row["item_id"], row["score"]))
        assert row["rank"] == len(of_user)
    return lists


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_gets_the_list_of_their_own(place, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(top_lists, "_USERS_PER_BLOCK", 64)  # so that 150 users are three blocks
    out = tmp_path / "below" / "top.parquet"
    report = json.loads(
        run(recommend, place / kind, "--all-users", "--out", out, "--top", 7, "--json").stdout
    )
    assert (report["users"], report["rows"], report["out"]) == (150, 150 * 7, str(out))
    lists = lists_in(out)
    assert list(lists) == [f"u{user:03d}" for user in range(150)]
    for user in ("u000", "u063", "u064", "u149"):
        alone = run(recommend, place / kind, "--user", user, "--top", 7, "--json").stdout
        items = json.loads(alone)["items"]
        assert [item for item, _ in lists[user]] == [item["item_id"] for item in items]
        assert [score for _, score in lists[user]] == pytest.approx(
            [item["score"] for item in items], abs=1e-5
        )


@pytest.mark.parametrize("kind", ["crossan", "markov"])
def test_every_list_has_so_many_new_items_at_least(place, tmp_path, kind):
    """Of each topic the last three items are in nobody's training part."""
    plain, out = tmp_path / "plain.parquet", tmp_path / "new.parquet"
    run(recommend, place / kind, "--all-users", "--out", plain, "--top", 7)
    run(recommend, place / kind, "--all-users", "--out", out, "--top", 7, "--new", 3)
    before, after = lists_in(plain), lists_in(out)
    changed = 0
    for user, items in after.items():
        assert len(items) == 7
        new = [item for item, _ in items if item[-1] in "789"]
        assert len(new) >= 3
        was = [item for item, _ in before[user]]
        if sum(item[-1] in "789" for item in was) >= 3:
            assert items == before[user]
            continue
        changed += 1
        kept = [item for item, _ in items if item in was]
        assert kept == [item for item in was if item in kept]
        assert len(new) == 3
    assert changed
    alone = json.loads(
        run(recommend, place / kind, "--user", "u064", "--top", 7, "--new", 3, "--json").stdout
    )
    assert [item["item_id"] for item in alone["items"]] == [item for item, _ in after["u064"]]
    own = api.open_run(place / kind).recommend(user="u064", top=7, new=3)
    assert own.column("item_id").to_pylist() == [item for item, _ in after["u064"]]
    with pytest.raises(UsageError, match="expected new to be at most top, 7, got 8"):
        api.open_run(place / kind).recommend(user="u064", top=7, new=8)
    with pytest.raises(UsageError, match="--new 8: expected at most the 7 items of --top"):
        run(recommend, place / kind, "--user", "u064", "--top", 7, "--new", 8)


def test_a_list_ends_where_the_catalogue_does(place, tmp_path, sequences):
    run(recommend, place / "sasrec", "--all-users", "--out", tmp_path / "t.parquet", "--top", 100)
    seen = {}
    for user, item, _ in sequences:
        seen.setdefault(user, set()).add(item)
    for user, of_user in lists_in(tmp_path / "t.parquet").items():
        shown = {item for item, _ in of_user}
        assert len(of_user) == len(shown) == 40 - len(seen[user])
        assert not shown & seen[user]


def test_a_file_of_users_gives_theirs_in_its_order(place, tmp_path):
    (tmp_path / "users.txt").write_text("u007\n\nu003 \n")
    out = tmp_path / "t.parquet"
    shown = run(recommend, place / "popularity", "--users", tmp_path / "users.txt", "--out", out)
    assert "20" in shown.stdout
    assert list(lists_in(out)) == ["u007", "u003"]


def test_a_user_named_twice_has_one_list(place, tmp_path):
    (tmp_path / "users.txt").write_bytes(b"u007\r\nu003\r\nu007\r\nu007")
    out = tmp_path / "t.parquet"
    shown = run(recommend, place / "popularity", "--users", tmp_path / "users.txt", "--out", out)
    assert "2 lines name a user again" in shown.stderr
    assert {user: len(items) for user, items in lists_in(out).items()} == {"u007": 10, "u003": 10}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--all-users",), "expected --out FILE"),
        (("--all-users", "--out", "t.csv"), "--out t.csv: expected a name that ends in .parquet"),
        (("--all-users", "--out", "t.parquet", "--user", "u001"), "expected one of --user"),
        (("--user", "u001", "--out", "t.parquet"), "expected --out and --replace with --all-users"),
        (("--users", "nobody.txt", "--out", "t.parquet"), "nobody.txt: expected a file"),
        (("--users", "empty.txt", "--out", "t.parquet"), "expected user ids, one on each line"),
        (
            ("--users", "users.txt", "--out", "t.parquet"),
            "--users users.txt, line 2: u0x1: not among the run's 150 users .*did you mean 'u0.1'",
        ),
        (("--all-users", "--out", "there.parquet"), "found a file\n  .*--replace"),
        (("--all-users", "--out", "there.parquet", "--replace"), "this command did not write"),
        (("--all-users", "--out", "a.parquet", "--replace"), "found a folder"),
        (("--all-users", "--out", "c/text/t.parquet"), "found the run"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is(
    place, tmp_path, arguments, match, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.txt").write_text("u001\nu0x1\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "there.parquet").write_text("mine")
    (tmp_path / "a.parquet").mkdir()
    (tmp_path / "c").symlink_to(place / "sasrec")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=match):
        run(recommend, place / "popularity", *arguments)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.parquet").read_text() == "mine"


def test_a_file_is_replaced_on_demand_and_never_in_part(place, tmp_path, monkeypatch):
    out = tmp_path / "t.parquet"
    out.write_text("mine")
    opened = open_run(place / "popularity", device="cpu")

    def broken(*_):
        raise RuntimeError("died")

    with monkeypatch.context() as patch:
        patch.setattr(top_lists, "best_items", broken)
        with pytest.raises(RuntimeError, match="died"):
            top_lists.write_top_lists(opened, [0, 1], 3, out, may_replace=True)
    assert out.read_text() == "mine"
    with pytest.raises(UsageError, match="--replace"):
        top_lists.write_top_lists(opened, [0, 1], 3, out, may_replace=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
    out.unlink()
    for _ in range(2):
        top = ("--all-users", "--out", out, "--replace", "--top", 2)
        run(recommend, place / "popularity", *top)
    assert len(lists_in(out)) == 150
