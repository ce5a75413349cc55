"""Reading and comparing canaries, the hidden states of four fixed inputs."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity

__all__ = ["CANARY_ITEM_COUNT", "check_canary", "parse_canary"]

CANARY_ITEM_COUNT = 4
_LONGEST_HEADER = 1_000

_TOLERANCE = {"float32": 1e-3}
_TOLERANCE_OF_HALF_PRECISION = 3e-2


def parse_canary(data: bytes, identity: StoreIdentity, where: str) -> npt.NDArray[np.float32]:
    """Read the content of ``canary/features.npy``, ``(4, layer, dim)`` float32.

    Its header is compared before memory is taken for what it claims.

    Parameters
    ----------
    data
        The whole file.
    identity
        Of the store.
    where
        The file's name, for the message.

    Raises
    ------
    StoreIntegrityError
        The bytes are not such an array.
    """
    shape = (CANARY_ITEM_COUNT, len(identity.layers), identity.dim)
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("expected version 1.0 of the format")
        header = np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
        if header[2].hasobject:
            raise ValueError("Object arrays cannot be loaded")
    # NumPy parses the header as Python, and lets pass whatever that makes of it.
    except (ValueError, OverflowError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise StoreIntegrityError(f"{where}: expected a NumPy array: {error}") from error
    values = memoryview(data)[file.tell() :]
    dtype = np.dtype("<f4")
    if header != (shape, False, dtype) or len(values) != int(np.prod(shape)) * dtype.itemsize:
        raise StoreIntegrityError(f"{where}: expected float32 {shape}, found another array")
    return np.frombuffer(values, dtype).reshape(shape)


def check_canary(
    recorded: npt.NDArray[Any], computed: npt.NDArray[Any], *, compute_dtype: str, where: str
) -> None:
    """Compare a store's canary with this machine's or another store's, both ``(4, layer, dim)``.

    The measure is the relative error per input and layer: the norm of the
    difference over the norm of the recorded vector. At most 1e-3 is allowed for
    float32 compute (kernels of other devices differ by less), 3e-2 otherwise.

    Raises
    ------
    IncompatibleError
        They differ by more than is allowed, or in shape.
    """
    allowed = _TOLERANCE.get(compute_dtype, _TOLERANCE_OF_HALF_PRECISION)
    remedy = (
        "Extract with the device and library versions of the store's producer, "
        "or into another --cache"
    )
    if recorded.shape != computed.shape:
        raise IncompatibleError(
            f"store {where}: canary mismatch: "
            f"expected shape {recorded.shape}, found {computed.shape}",
            remedy=remedy,
        )
    # The bound keeps a vector of zeros, for which a relative error has no meaning, from dividing.
    norm = np.maximum(np.linalg.norm(recorded, axis=2), 1e-6)
    error = np.linalg.norm(computed - recorded, axis=2) / norm  # (input, layer)
    worst = float(error.max())
    # Not `worst > allowed`: NaN compares false with everything, and is a mismatch too.
    if not worst <= allowed:
        ranked = np.where(np.isnan(error), np.inf, error)
        number, layer = np.unravel_index(int(np.argmax(ranked)), error.shape)
        raise IncompatibleError(
            f"store {where}: canary mismatch: expected the stored hidden states within "
            f"{allowed:g} relative, found {float(error[number, layer]):.3g} "
            f"at input {number}, kept layer number {layer}",
            remedy=remedy,
        )
