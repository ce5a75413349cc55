"""A program that has imported everything and forks: its children are our commands, with nothing left to import.

It reads one JSON order per line and answers each with one line:
``{"start": {...}}`` with the child's process id, ``{"poll": id}`` with the
child's exit code, negative for a signal, or null while it runs. A child that
has ended keeps its process id until it was polled. Children end with this program.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

# What commands load when they first need it: loaded here once.
import av  # noqa: F401
import dateutil.relativedelta  # noqa: F401
import PIL.Image
import PIL.ImageFile  # noqa: F401
import psutil  # noqa: F401
import pyarrow  # noqa: F401
import pydantic.type_adapter  # noqa: F401
import tomlkit  # noqa: F401
import torch
import torch._inductor.config  # with torch's compiler, which an optimiser loads
import transformers
import zarr  # noqa: F401

import crossan.common.stores.cli
import crossan.common.stores.digest
import crossan.common.stores.fixed_store
import crossan.common.stores.growing.compact
import crossan.common.stores.integrity
import crossan.common.stores.segment_store
import crossan.common.stores.sharing.transfer
import crossan.common.umbrella
import crossan.extract.backbones.opening
import crossan.extract.cli
import crossan.extract.job.run
import crossan.train.cli
import crossan.train.models.crossan
import crossan.train.ranks.joining
import crossan.train.recipes.running
import crossan.train.recipes.writing
import crossan.train.runs.training
from crossan.common.children import end_with_parent
from crossan.extract.backbones.families import FAMILIES

# transformers loads the modules of a model where its class is asked for.
for family in FAMILIES.values():
    getattr(transformers, family.model_class)
    getattr(transformers, family.processor_class)

MAIN = {
    "crossan": crossan.common.umbrella.main,
    "crossan-extract": crossan.extract.cli.main,
    "crossan-train": crossan.train.cli.main,
}


def die_at(countdown):
    """Have this process kill itself in place of its n-th call that syncs, renames or links."""
    left = [countdown]

    def counting(call):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in ("fsync", "rename", "replace", "link"):
        setattr(os, name, counting(getattr(os, name)))


def become(order, zygote):
    """Be the command of an order."""
    end_with_parent(zygote)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        file = os.open(order.get(name, "/dev/null"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    if order["after"]:
        die_at(order["after"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [str(Path(sys.executable).parent / order["program"]), *order["arguments"]]
    try:
        MAIN[order["program"]]()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code or 0)


def poll(process):
    """Return the exit code of a child that has ended, else None."""
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def main():
    """Serve until nobody is there to give orders."""
    torch.set_num_threads(1)
    zygote = os.getpid()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            print(json.dumps(poll(order["poll"])), flush=True)
            continue
        child = os.fork()
        if child == 0:
            become(order["start"], zygote)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
