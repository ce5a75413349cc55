"""The training-free lines on real data, against figures that were measured without crossan (shared/data/README.md)."""

from functools import cache

import pytest
from typer.testing import CliRunner

from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.cli import app as data_app
from crossan.train.evaluation.encoding import make_rankers, target_ranks
from crossan.train.evaluation.metrics import summarise
from crossan.train.features import FeatureTable
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import test_split as split_for_test
from crossan.train.settings import (
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    PopularitySettings,
    TitleKnnSettings,
)

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(1_800)]

LENGTH = 10


@pytest.fixture(scope="module")
def figures(test_data, tmp_path_factory):
    """Return a function from a data folder, its format and model settings to test HR@10 and NDCG@10 in %."""

    @cache
    def opened(name, layout):
        out = tmp_path_factory.mktemp("known") / name
        done = CliRunner().invoke(
            data_app,
            ["import", str(test_data / name), "--format", layout, "--out", str(out)],
        )
        assert done.exit_code == 0, done.output
        dataset = open_dataset(out)
        kept = keep_sequences(dataset.interactions(), max_items=13, min_items=5)
        items = dataset.items()
        titles = dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
        features = FeatureTable.without_content(len(kept.item_ids))
        counts = training_counts(kept.training_items, len(kept.item_ids))
        context = ModelContext(
            features,
            kept.without_test(),
            counts,
            LENGTH,
            lambda: [titles[item] for item in kept.item_ids.tolist()],
        )
        return context, split_for_test(kept, LENGTH)

    def measure(name, layout, settings):
        context, split = opened(name, layout)
        model = build_model(settings, context)
        ranker = make_rankers(model, context.features, {"test": split})["test"]
        metrics = summarise(target_ranks(ranker, split, "all"), split.users)
        return 100 * metrics["hr@10"], 100 * metrics["ndcg@10"]

    return measure


@pytest.mark.parametrize(
    ("settings", "expected", "tolerance"),
    [
        (PopularitySettings(), (1.50, 0.94), 0.005),
        # The plain cosine over all neighbours.
        (ItemKnnSettings(neighbours=100_000), (4.29, 3.17), 0.3),
        (MarkovSettings(), (5.42, 3.70), 0.3),
        # Theirs adds up all titles, ours the 100 most alike.
        (TitleKnnSettings(), (7.75, 4.88), 0.3),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_amazon_scientific(figures, settings, expected, tolerance):
    measured = figures("amazon_scientific", "iisan", settings)
    assert measured == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("settings", "expected", "tolerance"),
    [
        (PopularitySettings(), (0.28, 0.15), 0.005),
        (MarkovSettings(), (5.98, 3.54), 0.01),
        pytest.param(HybridSettings(), (6.79, 3.90), 0.3, marks=pytest.mark.exhaustive),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_microlens_50k(figures, settings, expected, tolerance):
    measured = figures("microlens50k", "microlens", settings)
    assert measured == pytest.approx(expected, abs=tolerance)
