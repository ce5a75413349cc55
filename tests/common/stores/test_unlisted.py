"""Segments that no manifest lists: those of a writer, at work or killed, are told from lost ones."""

from __future__ import annotations

import os

import pytest

from crossan.cache_schema.errors import BusyError, StoreIntegrityError, StoreNotFoundError
from crossan.common.owners import our_token
from crossan.common.stores import Journal, fsck, open_store, versions
from crossan.common.stores.claims import Claim
from crossan.common.stores.growing import collect as collect_module
from crossan.common.stores.growing import compact as compact_module
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.journal_names import FREE
from crossan.common.stores.unlisted import lying_segments
from crossan.common.stores.versions import read_chain


def test_a_segment_that_a_writer_has_claimed_is_a_note(store, capsys):
    claim = Claim.take(store, "transfer", "20260101T000000-0123456789abcdef")
    claim.publish()
    assert open_store(store).version == 2
    note = f"{store}: reading version 2; 1 newer segments are not listed yet"
    assert note in capsys.readouterr().err
    assert open_store(store).version == 2
    assert note not in capsys.readouterr().err  # said once
    assert fsck(store).ok
    claim.release()
    with pytest.raises(StoreIntegrityError, match="a manifest newer than version 2 was lost"):
        open_store(store)


def test_the_first_segment_that_is_claimed_is_no_version_yet(begin_store, make_identity):
    store = begin_store(make_identity())
    Claim.take(store, "transfer", "20260101T000000-0123456789abcdef").publish()
    with pytest.raises(StoreNotFoundError, match="expected a version, found none"):
        open_store(store)


def test_a_writer_is_never_taken_for_a_loss_at_any_of_its_steps(store, make_rows, monkeypatch):
    """Look at the store between any two steps of a writer, in every order of the two looks."""
    journal = Journal.open(store, "shard 1/1")
    journal.append(make_rows(range(50, 51)))
    looks = []

    def looking(call):
        def look_first(*arguments, **options):
            # Each look begins here or at an earlier step, and ends here with the manifests.
            looks.append(lying_segments(store))
            manifests = read_chain(store)
            assert [look.unlisted(manifests).lost for look in looks] == [()] * len(looks)
            return call(*arguments, **options)

        return look_first

    for name in ("fsync", "rename", "link", "unlink"):
        monkeypatch.setattr(os, name, looking(getattr(os, name)))
    journal.publish({})
    journal.close()
    compact(store, "test")
    collect(store, keep=1)
    monkeypatch.undo()
    assert len(looks) > 30
    assert open_store(store).version == 5


def test_a_claim_that_changes_hands_is_looked_for_again(store, monkeypatch):
    claim = Claim.take(store, "transfer", "20260101T000000-0123456789abcdef")
    claim.publish()
    away = claim.folder.rename(store / "between")

    def look(folder):
        try:
            return lying_segments(folder)
        finally:
            if away.exists():
                away.rename(claim.folder)

    monkeypatch.setattr(versions, "lying_segments", look)
    assert open_store(store).version == 2


def test_a_compaction_that_comes_too_late_leaves_no_stray_segment(store, monkeypatch):
    write = compact_module.write_segment

    def write_while_another_compacts(*arguments):
        monkeypatch.setattr(compact_module, "write_segment", write)
        compact(store, "test")
        return write(*arguments)

    monkeypatch.setattr(compact_module, "write_segment", write_while_another_compacts)
    with pytest.raises(BusyError):
        compact(store, "test")
    assert lying_segments(store).unlisted(read_chain(store)).lost == ()
    assert len(list((store / "segments").iterdir())) == 3


def test_a_collection_keeps_the_claim_of_a_writer_that_died_meanwhile(store, monkeypatch):
    """Its segment is in no plan of this collection, so its claim must go on saying what it is."""
    claim = Claim.take(store, "transfer", "20260101T000000-0123456789abcdef")
    claim.publish()
    dead = claim.folder.with_name(claim.folder.name.replace(our_token(), FREE))

    def die_after_the_plan(folder):
        if claim.folder.exists():
            claim.folder.rename(dead)
        return 0

    monkeypatch.setattr(collect_module, "_size", die_after_the_plan)
    compact(store, "test")
    collect(store, keep=1)
    assert open_store(store).version == 4
    monkeypatch.undo()
    assert claim.segment_id in collect(store, keep=1).segments
    assert not dead.exists()
