"""Whether the data of an opened run have changed, told from a few small files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossan.cache_schema.canonical import digest_of
from crossan.common.datasets import open_dataset
from crossan.common.stores.versions import list_versions
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.inputs import open_inputs

__all__ = ["DataOfRun"]


class DataOfRun:
    """The dataset and the stores of a run, where they lie now.

    Parameters
    ----------
    run
        The run folder.

    Raises
    ------
    CrossanError
        The dataset or a store is gone.
    """

    def __init__(self, run: Path) -> None:
        inputs = open_inputs(RunFolder(run), None, None)
        self._dataset = inputs.dataset.root
        self._stores: Sequence[Path] = [store.path for store in inputs.stores.values()]

    def state(self) -> str:
        """Return a text that changes whenever the dataset or the newest version of a store does.

        Raises
        ------
        CrossanError
            The dataset cannot be read right now.
        """
        newest = {str(store): list_versions(store)[-1:] for store in self._stores}
        return digest_of([open_dataset(self._dataset).digest, newest])
