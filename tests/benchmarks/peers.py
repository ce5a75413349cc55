"""SASRec of RecBole and of RecTools by their own modules, for ours to be held against."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

__all__ = ["PEERS", "Peer", "Shape", "version_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What all sides share, the defaults of ours."""

    users: int
    """Users of a step."""

    targets: int
    """Items that our step predicts, which are the rows of RecBole's."""

    ranked: int
    """Users of a ranking."""

    length: int = 10
    width: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.1


class Peer(Protocol):
    """One of them, with its model, one of its batches, and its data to rank."""

    targets: int
    """Items that a step predicts."""

    def step(self) -> object:
        """Train on the batch once."""

    def rank(self) -> object:
        """Encode the users, rank the catalogue for each, and compute HR@10 and NDCG@10."""


class RecBole:
    """RecBole, whose batch has a row for each item that is predicted.

    It ranks without leaving out what a user has seen, as it does for sequential models.
    """

    def __init__(self, sequences: Sequence[np.ndarray], shape: Shape, folder: Path) -> None:
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.data.dataloader import FullSortEvalDataLoader
        from recbole.utils import get_model, get_trainer

        if not hasattr(np, "float_"):
            raise ImportError(f"expected numpy 1, which RecBole needs, found {np.__version__}")
        _write_interactions(folder / "peers" / "peers.inter", sequences)
        settings = _recbole_settings(shape, folder)
        config = Config(model="SASRec", dataset="peers", config_dict=settings)
        train, valid, _ = data_preparation(config, create_dataset(config))
        model = get_model("SASRec")(config, train.dataset)
        # It writes folders of logs to where it is started.
        with contextlib.chdir(folder):
            self._trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
        self._batch, self.targets = next(iter(train)), shape.targets
        few = valid.dataset.copy(valid.dataset.inter_feat[: shape.ranked])
        self._ranked = FullSortEvalDataLoader(config, few, None)

    def step(self) -> object:
        """Train on the batch by its trainer's epoch over this batch alone."""
        return self._trainer._train_epoch([self._batch], 0)

    def rank(self) -> object:
        """Rank as its trainer evaluates."""
        return self._trainer.evaluate(self._ranked, load_best_model=False)


class RecTools:
    """RecTools, whose batch has a row for each user, as ours."""

    def __init__(self, sequences: Sequence[np.ndarray], shape: Shape, folder: Path) -> None:
        import pandas as pd
        import pytorch_lightning
        from rectools import Columns
        from rectools.dataset import Dataset
        from rectools.metrics import NDCG, HitRate, calc_metrics
        from rectools.models import SASRecModel

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

        def one_step() -> pytorch_lightning.Trainer:
            return pytorch_lightning.Trainer(
                max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            )  # fmt: skip

        parts = [items[:-1] for items in sequences]  # without the target of the validation
        self._dataset = Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
                    Columns.Item: np.concatenate(parts),
                    Columns.Weight: 1.0,
                    Columns.Datetime: pd.to_datetime(
                        np.concatenate([np.arange(len(part)) for part in parts]), unit="D"
                    ),
                }
            )
        )
        self._model = SASRecModel(
            n_blocks=shape.blocks, n_heads=shape.heads, n_factors=shape.width, loss="softmax",
            dropout_rate=shape.dropout, session_max_len=shape.length, batch_size=shape.users,
            recommend_torch_device="cpu", get_trainer_func=one_step,
        )  # fmt: skip
        self._model.fit(self._dataset)
        self._module = self._model.lightning_model.train()
        self._module.trainer = None  # it would refuse to log outside a fit
        self._optimiser = self._module.configure_optimizers()
        self._batch = next(iter(self._model.data_preparator.get_dataloader_train()))
        self.targets = int((self._batch["y"] != 0).sum())
        self._users = np.arange(shape.ranked)
        last = [items[-1] for items in sequences[: shape.ranked]]
        self._last = pd.DataFrame({Columns.User: self._users, Columns.Item: last})
        self._metrics = {"HR@10": HitRate(10), "NDCG@10": NDCG(10)}
        self._calc_metrics = calc_metrics

    def step(self) -> object:
        """Train on the batch by its module's step and its optimiser."""
        self._module.train()
        self._optimiser.zero_grad()
        with warnings.catch_warnings(action="ignore"):  # that nobody takes what it logs
            loss = self._module.training_step(self._batch, 0)
        loss.backward()
        self._optimiser.step()
        return loss

    def rank(self) -> object:
        """Recommend ten items a user, those seen left out, and compute the metrics of them."""
        with warnings.catch_warnings(action="ignore"):
            best = self._model.recommend(self._users, self._dataset, k=10, filter_viewed=True)
        return self._calc_metrics(self._metrics, best, self._last)


PEERS: dict[str, type[RecBole] | type[RecTools]] = {"recbole": RecBole, "rectools": RecTools}
"""By the names they are installed by."""


def version_of(package: str) -> str:
    """Return the name and version of an installed package."""
    return f"{package} {importlib.metadata.version(package)}"


def _write_interactions(path: Path, sequences: Sequence[np.ndarray]) -> None:
    """Write RecBole's table of interactions; its split takes one more item for the test."""
    path.parent.mkdir()
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences):
            file.writelines(f"{user}\t{item}\t{time}\n" for time, item in enumerate(items))
            file.write(f"{user}\t{items[-1]}\t{len(items)}\n")


def _recbole_settings(shape: Shape, folder: Path) -> dict[str, object]:
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": shape.length,
        "hidden_size": shape.width,
        "inner_size": 4 * shape.width,
        "n_layers": shape.blocks,
        "n_heads": shape.heads,
        "hidden_dropout_prob": shape.dropout,
        "attn_dropout_prob": shape.dropout,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": shape.targets,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        },
    }
