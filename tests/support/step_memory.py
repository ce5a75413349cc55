"""Prints what a large step of training is predicted to allocate, and what the process grew by."""

import re
import sys
from pathlib import Path

import torch

from crossan.train.loop.optimiser import make_optimiser
from crossan.train.objectives.step import loss_of_batch
from crossan.train.ranks.ranks import ALONE
from crossan.train.runs.peak import predict_peak
from crossan.train.sequences.splits import train_split
from support.planned_runs import made_up_run

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def kilobytes(field):
    return int(re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)[1])


def main(folder):
    torch.set_num_threads(1)
    large = made_up_run(folder, "sasrec", users=4096, items=5000, batch_size=4096)
    small = made_up_run(folder, "sasrec", users=64, items=500, batch_size=64)
    for run in (small, large):  # the first one loads what torch loads late
        optimiser = make_optimiser(run.model.parameter_groups(), run.settings.optimiser)
        sequences = train_split(run.seen, run.settings.data.input_length).sequences
        counts = torch.zeros(len(run.seen.item_ids))
        peak = predict_peak(run, ALONE, before=0)
        CLEAR.write_text("5")  # the highest so far is forgotten
        before = kilobytes("VmRSS")
        loss_of_batch(run.model.train(), run.features, sequences, counts).backward()
        optimiser.step()
        grown = kilobytes("VmHWM") - before
    print(peak.optimiser + peak.step, grown * 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
