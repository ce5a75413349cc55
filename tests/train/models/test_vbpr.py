"""VBPR: its scores and loss by hand, and what only its users can be given."""

import math

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import ConfigError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.config import load_settings
from crossan.train.cli import evaluate, recommend
from crossan.train.evaluation.encoding import make_rankers
from crossan.train.features import FeatureTable
from crossan.train.features.whole import last_layers
from crossan.train.models.vbpr import Vbpr
from crossan.train.runs.opening import open_run
from crossan.train.runs.vectors import item_vectors, user_vectors
from crossan.train.settings import RunSettings, VbprSettings
from support.commands import run, train_in
from support.fabricated import make_sequences, write_rows, write_small


def by_hand():
    """Two users and three items, the last one never trained."""
    model = Vbpr(
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]),
        torch.tensor([True, True, False]),
        user_count=2,
        width=1,
        content_width=1,
    )
    with torch.no_grad():
        model.users.copy_(torch.tensor([[2.0, 1.0], [0.0, -1.0]]))
        model.items[:2] = torch.tensor([[3.0], [1.0]])
        model.biases[:2] = torch.tensor([[0.5], [0.25]])
        model.projection.weight.copy_(torch.tensor([[4.0, 2.0]]))
        model.content_bias.copy_(torch.tensor([[0.0], [1.0]]))
    return model


def test_scores_are_those_of_equation_4():
    users, items = by_hand().propagate()
    cold = 0.6 * 4 + 0.8 * 2
    assert (users @ items.T).tolist() == [
        pytest.approx([0.5 + 2 * 3 + 4, 0.25 + 2 * 1 + 2 + 1, cold + 0.8]),
        pytest.approx([0.5 - 4, 0.25 - 2 + 1, -cold + 0.8]),
    ]


def test_the_loss_is_the_mean_over_triples_of_the_logistic_loss():
    triples = torch.tensor([[0, 0, 1], [1, 1, 0]]).unbind(dim=1)
    first, second = 10.5 - 5.25, -0.75 - -3.5
    expected = (math.log1p(math.exp(-first)) + math.log1p(math.exp(-second))) / 2
    assert by_hand().loss(*triples).item() == pytest.approx(expected)


def test_hidden_states_are_the_last_layers_side_by_side_each_of_length_1():
    image = torch.tensor([[[9.0, 9.0], [3.0, 4.0]], [[9.0, 9.0], [float("nan"), 1.0]]])
    text = torch.tensor([[[9.0], [-2.0]], [[9.0], [5.0]]]).half()
    presence = torch.tensor([[True, True], [False, True]])
    features = FeatureTable((Modality.IMAGE, Modality.TEXT), (image, text), presence)
    expected = torch.tensor([[0.6, 0.8, -1.0], [0.0, 0.0, 1.0]])
    assert torch.allclose(last_layers(features), expected)


def settings_with(*assignments):
    given = ["data.dataset=d", *assignments]
    return load_settings(RunSettings, assignments=given, environment={})


def test_triples_are_its_one_objective_and_nobody_elses():
    assert settings_with("model.kind=vbpr").objective.kind == "triples"
    assert settings_with("model.kind=vbpr", "objective.sample_size=3").objective.kind == "triples"
    assert settings_with("model.kind=sasrec").objective.kind == "in-batch"
    for wrong, message in (
        (("model.kind=vbpr", "objective.kind=in-batch"), "expected objective.kind=triples with"),
        (("model.kind=sasrec", "objective.kind=triples"), "expected another objective.kind than"),
        (("model.kind=vbpr", "init=r"), "expected no init with model.kind=vbpr"),
        (("model.kind=vbpr", "reference=true"), "expected objective.kind=in-batch with reference"),
    ):
        with pytest.raises(ConfigError, match=message):
            settings_with(*wrong)
    assert RunSettings(data={"dataset": "d"}, model=VbprSettings()).objective.kind == "triples"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("vbpr"))
    train_in(place, ("max_epochs=2", "batch_size=64"), "--model", "vbpr", out="r")
    return place


def test_a_user_of_the_run_is_recommended_to_and_a_history_is_not(trained):
    opened = open_run(trained / "r")
    user = str(opened.kept.user_ids[3])
    shown = run(recommend, trained / "r", "--user", user, "--json", "--top", "3")
    readers = make_rankers(opened.model, opened.features, {"all": AllUsers(opened)})["all"]
    scores = readers.scores(torch.tensor([3]), slice(0, 40))[0].clone()
    scores[torch.from_numpy(opened.kept.sequence(3))] = float("-inf")
    best = opened.kept.item_ids[scores.argsort(descending=True)[:3]]
    assert [f'"{item}"' in shown.stdout for item in best.tolist()] == [True] * 3
    with pytest.raises(UsageError, match="a history: expected a user that the run was trained on"):
        run(recommend, trained / "r", "--history", "i00,i01")
    assert item_vectors(opened).shape == (40, 64 + 64 + 1)
    with pytest.raises(UsageError, match="one of vbpr, which has none of a history"):
        user_vectors(opened, [np.array([0])])


class AllUsers:
    def __init__(self, opened):
        self.inputs = None
        self.histories = [opened.kept.sequence(user) for user in range(len(opened.kept.user_ids))]


def test_other_users_than_the_runs_are_refused(trained, tmp_path):
    write_rows(tmp_path / "d", [(f"x{user}", item, time) for user, item, time in make_sequences()])
    with pytest.raises(IncompatibleError, match="not the data that"):
        run(evaluate, trained / "r", "--dataset", tmp_path / "d")
    newcomer = [("newcomer", f"i0{item}", item) for item in range(6)]
    (trained / "d").rename(trained / "before")
    try:
        write_rows(trained / "d", [*make_sequences(), *newcomer])
        with pytest.raises(IncompatibleError, match="vbpr has a vector for every user"):
            open_run(trained / "r")
    finally:
        (trained / "d").rename(trained / "after")
        (trained / "before").rename(trained / "d")
