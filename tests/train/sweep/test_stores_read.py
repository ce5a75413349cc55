"""Trials are compared where they read the same versions of the same stores."""

import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.train.settings import DataSettings, RunSettings, SasrecSettings
from crossan.train.sweep.stores_read import StoresRead, stores_to_read


def store(version=1, *, path="/c/text", manifest="aaaa"):
    return {
        "store": path,
        "fingerprint": "ffff",
        "version": version,
        "manifest": manifest,
        "layers": [0],
        "dim": 8,
    }


@pytest.fixture
def read():
    found = StoresRead()
    found.add("runs/one", {"optimiser.lr": 0.1}, {"text": store(), "image": store()})
    return found


def test_another_version_is_refused_and_both_trials_are_named(read):
    message = (
        r"trials of one sweep read different stores, so their figures cannot be compared\n"
        r"  text: version 1 \(manifest aaaa\) of /c/text in runs/one; version 2 \(manifest bbbb\) of /c/text in runs/two\n"
        r"  Sweep into another --out with the stores named"
    )
    with pytest.raises(IncompatibleError, match=message) as refused:
        read.add(
            "runs/two", {"optimiser.lr": 0.2}, {"text": store(2, manifest="bbbb"), "image": store()}
        )
    assert refused.value.exit_code == 5


def test_another_modality_is_refused(read):
    with pytest.raises(
        IncompatibleError, match="modalities: image, text in runs/one; text in runs/two"
    ):
        read.add("runs/two", {"optimiser.lr": 0.2}, {"text": store()})


def test_a_rewritten_history_is_another_version(read):
    with pytest.raises(
        IncompatibleError,
        match=r"image: version 1 \(manifest aaaa\).*; version 1 \(manifest bbbb\)",
    ):
        read.add("runs/two", {}, {"text": store(), "image": store(manifest="bbbb")})


def test_the_same_numbers_may_lie_elsewhere_and_old_locks_have_no_manifest(read):
    old = store(path="/moved/text")
    del old["manifest"]
    read.add("runs/two", {}, {"text": old, "image": store()})
    with pytest.raises(IncompatibleError, match="runs/three"):  # and is compared in what it has
        read.add("runs/three", {}, {"text": {**old, "version": 2}, "image": store()})


def test_item_ids_alone_compare_with_anything(read):
    read.add("runs/two", {"model.kind": "sasrec"}, {})
    with pytest.raises(
        IncompatibleError, match="in runs/one; .* in runs/three"
    ):  # and leave what the others read
        read.add("runs/three", {}, {"text": store(), "image": store(version=2)})


def test_a_sweep_of_modalities_shares_the_versions_of_its_stores(read):
    read = StoresRead()
    read.add("runs/one", {"data.modality": ("text",)}, {"text": store()})
    read.add("runs/two", {"data.modality": ("text", "image")}, {"text": store(), "image": store(7)})
    with pytest.raises(
        IncompatibleError, match="image: version 7 .* in runs/two; version 8 .* in runs/three"
    ):
        read.add("runs/three", {"data.modality": ("image",)}, {"image": store(8)})


@pytest.mark.parametrize("axis", ["data.cache", "data.store"])
def test_a_sweep_of_stores_is_held_to_versions_place_by_place(axis):
    read = StoresRead()
    read.add("runs/one", {axis: "/a"}, {"text": store(1)})
    read.add("runs/two", {axis: "/b"}, {"text": store(2)})
    with pytest.raises(IncompatibleError, match="in runs/two; version 3 "):
        read.add("runs/three", {axis: "/b"}, {"text": store(3)})


def test_what_a_trial_will_read_is_what_its_settings_leave_of_the_cache():
    found = {"text": store(), "image": store()}
    base = RunSettings(data=DataSettings(dataset="D", cache="C"))
    image = RunSettings(data=DataSettings(dataset="D", cache="C", modality=("image",)))
    ids = RunSettings(data=DataSettings(dataset="D"), model=SasrecSettings())
    assert stores_to_read(base, {}, found) == found
    assert list(stores_to_read(image, {"data.modality": ("image",)}, found)) == ["image"]
    assert stores_to_read(ids, {"model.kind": "sasrec"}, found) == {}
    assert stores_to_read(base, {"data.store": ("/s",)}, found) == {}
