"""Training and evaluation of SASRec beside RecBole and RecTools, where these are installed.

``python tests/benchmarks/bench_peers.py`` prints three tables: the same objective (ours with
``objective.kind=catalogue``, the full softmax that both of them train by), our default objective
(in-batch) against their full softmax, and a full ranking with the encoding of the users. All are
CPU seconds of one thread, medians of repeats in turn in one process. Sequences are those of
``microlens50k`` (``CROSSAN_TEST_DATA``). RecBole has a row for each item that is predicted, and
ours and RecTools one for each user, so steps are compared by item predicted. One that cannot be
imported is named and left out. Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_encoder import make_model, medians, rank_in_blocks, read, split_of
from peers import PEERS, Peer, Shape, version_of
from train_shape import INPUT_LENGTH, ITEMS

from crossan.train.features import FeatureTable
from crossan.train.objectives import ObjectiveContext, make_objective
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import TrainSplit, pad_left
from crossan.train.settings import DataSettings, ObjectiveSettings, RunSettings, SasrecSettings

SAME, DEFAULT = "catalogue", "in-batch"


def main() -> None:
    """Measure everybody in turn and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--users", type=int, default=128, help="of a step")
    parser.add_argument("--ranked", type=int, default=4_096, help="users of a ranking")
    parser.add_argument("--of", type=int, default=None, help="take so many users of the data")
    parser.add_argument("--only", nargs="*", default=list(PEERS), choices=PEERS)
    arguments = parser.parse_args()
    sys.argv[1:] = []  # RecBole would read them too
    torch.set_num_threads(1)
    pairs = arguments.data / "microlens50k" / "MicroLens-50k_pairs.tsv"
    if not pairs.is_file():
        parser.error(f"{pairs}: no such file; name the real data: --data FOLDER")
    sequences = read(pairs)[: arguments.of]
    ours = Ours(sequences, arguments.users, arguments.ranked)
    shape = Shape(arguments.users, ours.targets, arguments.ranked, INPUT_LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        peers = importable_peers(arguments.only, sequences, shape, Path(folder))
        print(
            f"one thread, torch {torch.__version__}, {arguments.repeats} repeats, load"
            f" {os.getloadavg()[0]:.1f}; {len(sequences):,} users, B = {shape.users}",
            flush=True,
        )
        compare(ours, peers, arguments.repeats)


def importable_peers(
    names: list[str], sequences: list[np.ndarray], shape: Shape, folder: Path
) -> dict[str, Peer]:
    """Return the peers that can be imported by name and version, saying which cannot."""
    peers: dict[str, Peer] = {}
    for name in names:
        try:
            peer = PEERS[name](sequences, shape, folder)
        except ImportError as error:
            print(f"NOT MEASURED: {name}: {error}. pip install {name}", flush=True)
        else:
            peers[version_of(name)] = peer
    return peers


class Ours:
    """Our model, one batch of users, and our validation."""

    def __init__(self, sequences: list[np.ndarray], users: int, ranked: int) -> None:
        train = TrainSplit(pad_left([items[:-1] for items in sequences], INPUT_LENGTH + 1))
        rows = train.sequences[train.sequences != PADDING]
        log_p = log_popularity(training_counts(rows.numpy(), ITEMS))
        model = SasrecSettings(width=64, dropout=0.1)
        self._objectives = {
            kind: make_objective(
                ObjectiveContext(
                    RunSettings(
                        data=DataSettings(dataset="D"),
                        model=model,
                        objective=ObjectiveSettings(kind=kind),
                    ),
                    train,
                    log_p,
                )
            )
            for kind in (SAME, DEFAULT)
        }
        self._features, self._model = FeatureTable.without_content(ITEMS), make_model()
        self._optimiser = torch.optim.AdamW(self._model.parameters(), lr=1e-4, fused=True)
        self._batch = torch.from_numpy(np.random.default_rng(0).choice(len(sequences), users))
        self._split = split_of(sequences, ranked)
        is_real = train.sequences[self._batch] != PADDING
        self.targets = int((is_real[:, :-1] & is_real[:, 1:]).sum())

    def step(self, kind: str) -> None:
        """Train on the batch once."""
        self._model.train()
        self._optimiser.zero_grad()
        self._objectives[kind].prepare(self._features, self._batch)(self._model).backward()
        self._optimiser.step()

    def rank(self) -> None:
        """Encode the users and count the ranks of their targets, seen items left out."""
        self._model.eval()
        vectors = self._model.catalogue_vectors(lambda encoder: torch.empty(0)).detach()
        rank_in_blocks(self._model, vectors, self._split)


def compare(ours: Ours, peers: dict[str, Peer], repeats: int) -> None:
    """Take steps of everybody in turn, then rankings, and print the tables."""
    same, default, *others = medians(
        repeats,
        lambda: ours.step(SAME),
        lambda: ours.step(DEFAULT),
        *(peer.step for peer in peers.values()),
    )
    print_steps("The same objective: full softmax over the catalogue", same, ours, peers, others)
    print_steps("Our in-batch objective against their full softmax", default, ours, peers, others)
    ranks: list[Callable[[], object]] = [ours.rank, *(peer.rank for peer in peers.values())]
    mine, *theirs = medians(repeats, *ranks)
    print("\nA full ranking, users encoded\n\n| beside | ours CPU s | theirs | ratio | goal |")
    print("|---|---|---|---|---|")
    if not peers:
        print(f"| nobody | {mine:.2f} | | | |")
    for name, seconds in zip(peers, theirs, strict=True):
        print(f"| {name} | {mine:.2f} | {seconds:.2f} | {seconds / mine:.1f} | >= 4 |")


def print_steps(
    title: str, seconds: float, ours: Ours, peers: dict[str, Peer], others: list[float]
) -> None:
    """Print one table of steps, by item predicted."""
    mine = 1e6 * seconds / ours.targets
    print(
        f"\n{title}\n\n| beside | items a step, ours | theirs | ours CPU us an item | theirs |",
        end="",
    )
    print(" ratio |\n|---|---|---|---|---|---|")
    if not peers:
        print(f"| nobody | {ours.targets} | | {mine:.0f} | | |")
    for (name, peer), other in zip(peers.items(), others, strict=True):
        theirs = 1e6 * other / peer.targets
        print(
            f"| {name} | {ours.targets} | {peer.targets} | {mine:.0f} | {theirs:.0f} |"
            f" {theirs / mine:.1f} |"
        )


if __name__ == "__main__":
    main()
