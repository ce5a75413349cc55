"""Processes that read media, one item at a time within limits of memory and time.

A file that crashes or hangs a decoder costs one item, not the job. Belongs
here: what a worker process runs and how the job talks to it; it imports
neither torch nor transformers. Does not belong here: decoding
(`crossan.extract.media`) and what is done with the inputs (`crossan.extract.job`).
"""

from crossan.extract.workers.item import DecodeOrder, ItemReader, MediumOutcome
from crossan.extract.workers.pool import Limits, Stopped, WorkerPool

__all__ = ["DecodeOrder", "ItemReader", "Limits", "MediumOutcome", "Stopped", "WorkerPool"]
