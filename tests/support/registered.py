"""Runs that may be registered, and the rows of the queue that they belong to, made without training."""

from __future__ import annotations

import json
import shutil
import stat

import torch

from crossan.train.record.checkpoint import Checkpoint, save_checkpoint
from crossan.train.service.queue.rows import Order, State, Step, submit
from crossan.train.service.specs import Limits, RunSpec
from support.finished_runs import write_run

RANKS = [1, 3, 11, 2, 30, 1, 8, 4]


def a_run(folder, ranks=RANKS, *, weights=None, **more):
    """Write a finished run with the checkpoint of its best epoch; return its folder."""
    write_run(folder, ranks, **more)
    weights = weights or {"a": torch.arange(6.0).reshape(2, 3), "rows": torch.arange(4)}
    save_checkpoint(folder / "checkpoints", "best", Checkpoint({"model": weights}, {"epoch": 2}))
    save_checkpoint(folder / "checkpoints", "last", Checkpoint({"model": weights}, {"epoch": 4}))
    (folder / ".owner").write_text("nobody")
    (folder / "logs").mkdir()
    (folder / "logs/mlflow.json").write_text("{}")
    return folder


def a_refit(folder, trained_on):
    """Write the refit of a run, which has no figures; return its folder."""
    a_run(folder)
    result = {"model": "sasrec", "refit": {"trained_on": trained_on, "epochs": 2}}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def a_row(database, dataset="small", **spec):
    """Put a training into the queue, say that it succeeded, and return its row."""
    spec = RunSpec(dataset=dataset, **spec).model_dump(mode="json")

    def work(connection):
        order = Order(Step.TRAIN, dataset, spec, Limits(), "ann", 1000.0)
        row, _ = submit(connection, order)
        connection.execute("UPDATE runs SET state = ? WHERE id = ?", (State.SUCCEEDED, row.id))
        return row

    return database.write(work)


def registered(registry, database, folder, count=1, **options):
    """Register so many versions, each of a run of its own; return them."""
    models = []
    for number in range(count):
        run = a_run(folder / f"run-{number}", **options)
        models.append(registry.register(run, None, a_row(database), "ann"))
        shutil.rmtree(run)
    return models


def change_a_byte(path):
    """Change one byte in the middle of a file that nobody may write."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(content)
    path.chmod(0o444)
