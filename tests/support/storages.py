"""The memory that tensors with numbers take, storage by storage."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def strided_parts(value):
    """The dense tensors in the arguments or results of an operator, those within sparse ones too."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            sparse = leaf.layout == torch.sparse_coo
            yield from (leaf._indices(), leaf._values()) if sparse else (leaf,)


class Storages(TorchDispatchMode):
    """Follow each storage from the operation that makes it to its release."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {part.untyped_storage()._cdata for part in strided_parts((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for part in strided_parts(result):
            storage = part.untyped_storage()
            if storage._cdata not in given | self.known:
                self.known.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self.release, storage._cdata, storage.nbytes())
        return result

    def release(self, key, size):
        self.known.discard(key)
        self.live -= size
