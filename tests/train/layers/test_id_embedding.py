"""A vector per item beside its content: where it begins, who gets a gradient, and how rows follow item ids."""

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.layers.id_embedding import ID_ROWS, IdEmbedding
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.record.catalogue_lock import carry_item_rows, read_catalogue, settle_catalogue
from crossan.train.settings import CrossanSettings, SasrecSettings
from support.small_models import build

IS_TRAINED = torch.tensor([True, True, False, True])
IDS_ALONE = SasrecSettings(width=4)
BOTH = CrossanSettings(width=4, bottleneck_dim=3, top_k=1, id_embedding=True)


def make_features():
    hidden = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0))
    return FeatureTable((Modality.TEXT,), (hidden,), torch.ones(4, 1, dtype=torch.bool))


def make_model(settings, is_trained=IS_TRAINED):
    torch.manual_seed(0)
    dims = [5] if settings.reads_hidden_states else []
    return build(settings, dims, layer_count=2, input_length=3, is_trained=is_trained)


def test_new_vectors_are_small_and_those_of_unseen_items_are_zero():
    torch.manual_seed(0)
    weight = IdEmbedding(torch.arange(2000) % 2 == 0, width=16).weight
    assert not weight[1::2].any()
    assert weight[::2].std().item() == pytest.approx(0.02, rel=0.05)
    assert weight[::2].mean().item() == pytest.approx(0.0, abs=0.001)


def test_an_item_vector_is_content_plus_its_own_row():
    model, features = make_model(BOTH), make_features()
    rows = torch.tensor([3, 2, 3])
    content = model.item_encoder(*features.gather(rows))
    assert torch.equal(
        model.item_vectors(features, rows), content + model.id_embedding.weight[rows]
    )
    assert torch.equal(
        model.item_vectors(features, rows)[1], content[1]
    )  # item 2: no training, content alone


def test_without_content_nothing_else_is_built_or_read():
    model = make_model(IDS_ALONE)
    assert {name.partition(".")[0] for name in model.state_dict()} == {
        "id_embedding",
        "sequence_encoder",
    }
    features, rows = FeatureTable.without_content(4), torch.tensor([1, 0])
    for vectors in (model.item_vectors(features, rows), model.plain_item_vectors(features, rows)):
        assert torch.equal(vectors, model.id_embedding.weight[rows])


def test_the_rest_of_the_model_begins_as_it_does_without():
    plain, other = (
        make_model(BOTH.model_copy(update={"id_embedding": False})).state_dict(),
        make_model(BOTH).state_dict(),
    )
    assert set(other) - set(plain) == {ID_ROWS}
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_only_the_rows_of_a_batch_get_a_gradient():
    model = make_model(IDS_ALONE)
    model.item_vectors(FeatureTable.without_content(4), torch.tensor([0, 3])).sum().backward()
    assert model.id_embedding.weight.grad.tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4, [1.0] * 4]


def test_items_are_made_of_something():
    with pytest.raises(ValueError, match="an item encoder, an id embedding or both, got neither"):
        SequenceModel(None, make_model(IDS_ALONE).sequence_encoder)


def test_rows_follow_their_items_into_another_catalogue():
    """b and d are in both, but nobody had d in training there; a left; c and e are new, e after all that were there."""
    weights = {
        ID_ROWS: torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]]),
        "other": torch.tensor(5.0),
    }
    initial = torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.4, 0.4]])
    carried = carry_item_rows(
        weights, np.array(["a", "b", "d"]), {ID_ROWS: initial}, np.array(["b", "c", "d", "e"])
    )
    assert torch.equal(
        carried[ID_ROWS], torch.tensor([[2.0, 0.0], [0.2, 0.2], [0.3, 0.3], [0.4, 0.4]])
    )
    assert carried["other"] is weights["other"]


def test_the_same_catalogue_carries_every_row_as_it_is():
    weights = {ID_ROWS: torch.randn(3, 2, generator=torch.Generator().manual_seed(0))}
    ids = np.array(["a", "b", "d"])
    carried = carry_item_rows(weights, ids, {ID_ROWS: torch.zeros(3, 2)}, ids)
    assert torch.equal(carried[ID_ROWS], weights[ID_ROWS])


def test_rows_of_single_numbers_follow_their_items_too():
    weights = {"counts": torch.tensor([3.0, 0.0, 5.0])}
    initial = {"counts": torch.zeros(3)}
    carried = carry_item_rows(
        weights, np.array(["a", "b", "d"]), initial, np.array(["b", "d", "e"])
    )
    assert carried["counts"].tolist() == [0.0, 5.0, 0.0]


def test_a_catalogue_is_recorded_once_and_any_other_is_refused(tmp_path):
    ids = np.array(["a", "b,c", "v 1\n", "ü"])
    settle_catalogue(tmp_path, ids, "Begin anew")
    settle_catalogue(tmp_path, ids, "Begin anew")
    assert read_catalogue(tmp_path).tolist() == ids.tolist()
    with pytest.raises(
        IncompatibleError, match=r"its 4 items, found 3: 1 new, 2 gone, first: z"
    ) as refused:
        settle_catalogue(tmp_path, np.array(["a", "b,c", "z"]), "Begin anew")
    assert refused.value.exit_code == 5
    assert read_catalogue(tmp_path).tolist() == ids.tolist()


def test_a_catalogue_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(
        StoreIntegrityError, match=r"catalogue\.parquet: expected the run's item ids"
    ):
        read_catalogue(tmp_path)
    settle_catalogue(tmp_path, np.array(["a"]), "Begin anew")
    path = tmp_path / "catalogue.parquet"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(
        StoreIntegrityError, match=r"catalogue\.parquet: expected the run's item ids"
    ):
        read_catalogue(tmp_path)


def with_dropout(rate):
    """Return an embedding that drops, in training, whose generator has just been seeded."""
    ids = IdEmbedding(torch.ones(200, dtype=torch.bool), 3, rate)
    torch.manual_seed(5)
    return ids


def dropped_one_by_one(vectors, rate):
    """Return each vector as it is or zero, whole, and never scaled."""
    drawn = torch.rand(len(vectors), 1)
    kept = []
    for vector, chance in zip(vectors, drawn.squeeze(1).tolist(), strict=True):
        kept.append(torch.zeros_like(vector) if chance < rate else vector)
    return torch.stack(kept)


def test_dropped_vectors_are_zero_as_a_whole_and_others_as_they_are():
    ids, rows = with_dropout(0.3), torch.arange(0, 200, 2)
    dropped = ids(rows)
    torch.manual_seed(5)
    assert torch.equal(dropped, dropped_one_by_one(ids.weight[rows], 0.3))
    share = (dropped == 0).all(dim=1).double().mean().item()
    assert 0.15 < share < 0.45
    assert share == (dropped == 0).any(dim=1).double().mean().item()
    torch.manual_seed(5)
    everyone = ids.everyone()
    torch.manual_seed(5)
    assert torch.equal(everyone, dropped_one_by_one(ids.weight, 0.3))


def test_an_item_that_is_dropped_gets_no_gradient():
    ids = with_dropout(0.5)
    vectors = ids(torch.arange(200))
    vectors.sum().backward()
    is_dropped = (vectors == 0).all(dim=1)
    assert is_dropped.any()
    assert torch.equal((ids.weight.grad == 0).all(dim=1), is_dropped)


@pytest.mark.parametrize(("rate", "is_training"), [(0.9, False), (0.0, True)])
def test_nothing_is_dropped_or_drawn_in_evaluation_and_by_default(rate, is_training):
    ids = with_dropout(rate).train(is_training)
    state = torch.get_rng_state()
    assert torch.equal(ids(torch.arange(200)), ids.weight)
    assert torch.equal(ids.everyone(), ids.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_dropped_item_is_its_content_alone_in_a_model():
    settings = BOTH.model_copy(update={"id_dropout": 0.999999})
    model, features, rows = make_model(settings), make_features(), torch.tensor([0, 1])
    content = model.item_encoder(*features.gather(rows))
    assert torch.equal(model.item_vectors(features, rows), content)
    assert not torch.equal(model.eval().item_vectors(features, rows), content)


def test_without_ids_there_is_nothing_to_drop():
    with pytest.raises(ValueError, match="expected id_embedding with id_dropout"):
        CrossanSettings(id_dropout=0.2)
