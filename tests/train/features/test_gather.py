"""Wherever the hidden states live, a gather gives what a dict of rows gives."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, encode_rows, open_store
from crossan.train.features import FeatureTable, HiddenStates, StoredStates
from crossan.train.features.standardise import Standardiser
from crossan.train.features.streamed import StreamedFeatures
from support.counts import of_full

ITEMS, CPU = 60, torch.device("cpu")
EVERYTHING = np.arange(ITEMS)
NOTHING = EVERYTHING[:0]
WIDTHS = {
    Modality.TEXT: (8, "float16"),
    Modality.IMAGE: (12, "bfloat16"),
    Modality.AUDIO: (4, "float32"),
}


def write_store(folder, modality, dim, stored_dtype, layers=(0, 3, 6)):
    """Two segments, the second between the first; every seventh item, another in each modality, has no row."""
    identity = StoreIdentity(
        modality=modality, backbone={"id": "b"}, inputs={}, dim=dim, stored_dtype=stored_dtype,
        capture={"layers": list(layers), "pooling": "cls"},
    )  # fmt: skip
    create_store(folder, identity, np.zeros((4, len(layers), dim), np.float32))
    journal = Journal.open(folder, "shard 1/1")
    values = (
        np.random.default_rng(modality.order)
        .normal(size=(ITEMS, len(layers), dim))
        .astype(np.float32)
    )
    rows, _ = encode_rows(values, stored_dtype)
    for numbers in (range(0, ITEMS, 2), range(1, ITEMS, 2)):
        is_ok = [(n + modality.order) % 7 > 0 for n in numbers]
        journal.append(
            [
                ItemRow(
                    f"i{n:03d}",
                    None,
                    ItemStatus.OK if ok else ItemStatus.ABSENT,
                    row=rows[n] if ok else None,
                )
                for n, ok in zip(numbers, is_ok, strict=True)
            ]
        )
        journal.publish({})
    journal.close()
    return open_store(folder)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {
        modality: write_store(folder / modality.value, modality, *width)
        for modality, width in WIDTHS.items()
    }


def item_ids(stores):
    return stores[Modality.TEXT].item_ids


def make_table(stored):
    tables = tuple(stored.load(m, EVERYTHING, CPU) for m in range(len(stored.modalities)))
    return FeatureTable(stored.modalities, tables, torch.from_numpy(stored.presence))


def dict_of_rows(stores, layers, order):
    """The slow twin: by catalogue row each modality's hidden states, read over the mapping, or None."""
    chosen = [(store, store.read(np.arange(ITEMS), layers)) for store in stores.values()]
    return {
        row: [states[place] if store.presence[place] else None for store, states in chosen]
        for row, place in enumerate(order)
    }


def check(features: HiddenStates, rows, expected):
    hidden, presence = features.gather(torch.tensor(rows, dtype=torch.int64))
    assert presence.shape == (len(rows), len(features.modalities))
    for m, states in enumerate(hidden):
        assert states.shape == (len(rows), features.layer_count, features.dims[m])
        for place, row in enumerate(rows):
            wanted = expected[row][m]
            assert bool(presence[place, m]) == (wanted is not None)
            if wanted is not None:
                assert states[place].numpy().tobytes() == wanted.tobytes()


@settings(max_examples=of_full(80, 27), deadline=None)
@given(
    st.lists(st.integers(0, ITEMS - 1), max_size=80),
    st.lists(st.sampled_from(["store", "ram", "device"]), min_size=ITEMS, max_size=ITEMS),
    st.sampled_from([None, (3,), (0, 6)]),
    st.lists(st.integers(0, 3), max_size=2),
)
def test_every_place_gives_what_a_dict_of_rows_gives(stores, rows, places, layers, seeds):
    order = EVERYTHING
    for seed in seeds:
        order = order[np.random.default_rng(seed).permutation(ITEMS)]
    expected = dict_of_rows(stores, layers, order)
    stored = StoredStates(stores, item_ids(stores), layers, seeds)
    in_ram, on_device = (EVERYTHING[np.array(places) == place] for place in ("ram", "device"))
    check(make_table(stored), rows, expected)
    check(StreamedFeatures(stored, CPU, in_ram, on_device), rows, expected)


@pytest.mark.parametrize(
    "kept", [NOTHING, EVERYTHING[7:8], EVERYTHING], ids=["nothing", "one item", "everything"]
)
@pytest.mark.parametrize("is_on_device", [False, True])
def test_the_ends_of_the_cache(stores, kept, is_on_device):
    stored = StoredStates(stores, item_ids(stores))
    places = (NOTHING, kept) if is_on_device else (kept, NOTHING)
    rows = [59, 7, 7, 0, 13, 7]
    check(StreamedFeatures(stored, CPU, *places), rows, dict_of_rows(stores, None, EVERYTHING))


@pytest.mark.parametrize("places", [(NOTHING, NOTHING), (EVERYTHING[::3], EVERYTHING[1::3])])
def test_packed_rows_are_the_same_wherever_they_live(stores, places):
    """What is packed once and kept equals what is packed anew at every gather, bit for bit, absent rows left out."""
    rows = torch.tensor([5, 3, 3, 58, 14, 0, 31])
    stored = StoredStates(stores, item_ids(stores), None, [2])
    stored.pack()
    whole, presence = make_table(stored).gather(rows)
    found, found_presence = StreamedFeatures(stored, CPU, *places).gather(rows)
    assert torch.equal(presence, found_presence)
    plain = make_table(StoredStates(stores, item_ids(stores), None, [2])).gather(rows)[0]
    for m, (one, other) in enumerate(zip(whole, found, strict=True)):
        here = presence[:, m]
        assert one[here].equal(other[here])
        assert one.dtype == other.dtype == plain[m].dtype
        assert not one[here].equal(plain[m][here])


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("places", [(NOTHING, NOTHING), (EVERYTHING[::3], EVERYTHING[1::3])])
def test_standardised_rows_are_the_same_wherever_they_live(stores, places, is_packed):
    """Read whole, block by block or row by row, packed or not: the numbers of a slow twin, and the same bits."""
    rows = torch.tensor([5, 3, 3, 58, 14, 0, 31])
    stored = StoredStates(stores, item_ids(stores), (0, 6), [2])
    moments = stored.moments()
    stored.standardise({m: Standardiser.of(one) for m, one in moments.items()})
    if is_packed:
        stored.pack()
    whole, presence = make_table(stored).gather(rows)
    streamed, _ = StreamedFeatures(stored, CPU, *places).gather(rows)
    order = np.random.default_rng(2).permutation(ITEMS)
    for m, store in enumerate(stores.values()):
        here = presence[:, m]
        assert whole[m][here].equal(streamed[m][here])
        states = store.read(np.flatnonzero(store.presence), (0, 6)).astype(np.float64)
        assert moments[stored.modalities[m]].items == len(states)
        centred = store.read(order[rows[here]], (0, 6)).astype(np.float64) - states.mean(axis=0)
        expected = centred / np.sqrt(states.var(axis=0).mean(axis=1))[:, None]
        np.testing.assert_allclose(whole[m][here], expected, atol=0.03 if is_packed else 0.002)


def test_a_permuted_run_has_the_statistics_of_the_plain_one(stores):
    plain = StoredStates(stores, item_ids(stores)).moments()
    permuted = StoredStates(stores, item_ids(stores), None, [3]).moments()
    for modality, moments in plain.items():
        assert moments.mean.tobytes() == permuted[modality].mean.tobytes()
        assert moments.variance.tobytes() == permuted[modality].variance.tobytes()


def test_statistics_are_of_the_catalogue_and_not_of_the_store(stores):
    few = item_ids(stores)[::5]
    moments = StoredStates(stores, few).moments()[Modality.TEXT]
    store = stores[Modality.TEXT]
    states = store.read(np.flatnonzero(store.presence & np.isin(store.item_ids, few)))
    np.testing.assert_allclose(moments.mean, states.astype(np.float64).mean(axis=0))


def test_rows_can_be_fetched_by_several_threads_at_once(stores):
    expected = dict_of_rows(stores, None, EVERYTHING)
    features = StreamedFeatures(
        StoredStates(stores, item_ids(stores)), CPU, EVERYTHING[::2], NOTHING
    )
    problems = []

    def work(seed):
        try:
            for _ in range(20):
                check(
                    features, np.random.default_rng(seed).integers(0, ITEMS, 30).tolist(), expected
                )
        except AssertionError as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_other_rows_than_were_fetched_are_refused(stores):
    features = StreamedFeatures(StoredStates(stores, item_ids(stores)), CPU, NOTHING, NOTHING)
    with pytest.raises(ValueError, match="expected the 2 rows that were fetched, got 3"):
        features.fetch(torch.tensor([1, 2])).gather(torch.tensor([1, 2, 3]))


def test_a_damaged_chunk_is_noticed_when_it_is_streamed(tmp_path):
    store = write_store(tmp_path / "s", Modality.TEXT, 8, "float16")
    features = StreamedFeatures(
        StoredStates({Modality.TEXT: store}, store.item_ids), CPU, NOTHING, NOTHING
    )
    chunk = next(iter(sorted(store.path.glob("segments/*/hidden_states/c/0/0/0"))))
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(StoreIntegrityError, match="expected bytes with CRC32C"):
        features.fetch(torch.arange(ITEMS))


def test_different_counts_of_kept_layers_are_refused(stores, tmp_path):
    other = write_store(tmp_path / "s", Modality.VIDEO, 8, "float16", layers=(0, 6))
    both = {**stores, Modality.VIDEO: other}
    with pytest.raises(
        IncompatibleError, match="text keeps 0, 3, 6; image .*; video keeps 0, 6"
    ) as caught:
        StoredStates(both, item_ids(stores))
    assert caught.value.remedy.startswith("Pick layers that all of them keep, --set model.layers=[")
    assert StoredStates(both, item_ids(stores), (0, 6)).layer_count == 2
    with pytest.raises(IncompatibleError, match="asks for, 3, found 0, 6"):
        StoredStates(both, item_ids(stores), (0, 3))
