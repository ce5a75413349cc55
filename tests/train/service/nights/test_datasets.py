"""Names of datasets become folders below the roots, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import UsageError
from crossan.train.service.nights.datasets import dataset_at, dataset_names, places
from support.nightly import make_settings, write_description


def test_a_dataset_is_named_by_its_folder(tmp_path):
    settings = make_settings(tmp_path)
    write_description(tmp_path / "roots/shop", name="the shop's own name")
    (tmp_path / "inbox/shop").mkdir()
    place = dataset_at("shop", settings)
    assert place.path == (tmp_path / "roots/shop").resolve()
    assert place.description.name == "the shop's own name"
    assert place.inbox == (tmp_path / "inbox/shop").resolve()
    assert places(settings) == {"shop": place}


def test_an_inbox_is_not_made_up(tmp_path):
    write_description(tmp_path / "roots/shop")
    assert dataset_at("shop", make_settings(tmp_path)).inbox is None
    assert dataset_at("shop", make_settings(tmp_path, inbox=None)).inbox is None


def test_an_unknown_name_gets_the_nearest_one(tmp_path):
    write_description(tmp_path / "roots/microlens")
    with pytest.raises(UsageError, match="no dataset folder of this name.*mean 'microlens'"):
        dataset_at("microlense", make_settings(tmp_path))


def test_links_out_of_a_root_lead_nowhere(tmp_path):
    settings = make_settings(tmp_path)
    write_description(tmp_path / "elsewhere")
    write_description(tmp_path / "roots/real")
    (tmp_path / "roots/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "roots/up").symlink_to(tmp_path / "roots")
    (tmp_path / "roots/inside").symlink_to(tmp_path / "roots/real")
    (tmp_path / "roots/circle").symlink_to(tmp_path / "roots/circle")
    (tmp_path / "inbox/real").symlink_to(tmp_path / "elsewhere")
    assert dataset_names(settings) == ["inside", "real"]
    assert dataset_at("real", settings).inbox is None
    with pytest.raises(UsageError, match="no dataset folder of this name"):
        dataset_at("out", settings)


@given(
    st.sampled_from(["..", ".", "/", "\0", "%2e%2e", ";", "~", "\\", "\n", "a.b", ""]), st.text()
)
def test_no_text_that_is_no_name_is_looked_up(tmp_path_factory, hostile, other):
    folder = tmp_path_factory.getbasetemp() / "hostile"
    settings = make_settings(folder)
    write_description(folder / "roots" / "shop")
    write_description(folder / "outside")
    for name in (hostile, hostile + other, other + hostile, f"../{other}", f"shop/{hostile}"):
        with pytest.raises(UsageError, match="no dataset folder of this name"):
            dataset_at(name, settings)


def test_a_name_that_two_roots_have_is_refused(tmp_path):
    settings = make_settings(tmp_path, roots=(str(tmp_path / "a"), str(tmp_path / "b")))
    write_description(tmp_path / "a/shop")
    write_description(tmp_path / "b/shop")
    with pytest.raises(UsageError, match="expected one folder of this name.*found 2"):
        dataset_at("shop", settings)
    assert dataset_names(settings) == ["shop"]
    assert places(settings) == {}


def test_a_root_that_is_not_mounted_holds_nothing(tmp_path):
    write_description(tmp_path / "roots/shop")
    settings = make_settings(tmp_path, roots=(str(tmp_path / "gone"), str(tmp_path / "roots")))
    assert dataset_names(settings) == ["shop"]


def test_a_damaged_dataset_is_left_out_of_the_list(tmp_path):
    settings = make_settings(tmp_path)
    write_description(tmp_path / "roots/shop")
    write_description(tmp_path / "roots/torn")
    (tmp_path / "roots/torn/dataset.json").write_text("{")
    assert list(places(settings)) == ["shop"]
