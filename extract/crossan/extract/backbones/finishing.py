"""The device's half of preparing a batch, vectorised over its items.

A finish is an `nn.Module` from tensors by name to tensors by name; its buffers
move to the compute device with the model. Both finishes here give the same on
every device, pictures by looking values up and sounds by float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["SOUND_TOLERANCE", "PictureFinish", "SoundFinish", "samples_of"]

_WINDOW, _HOP, _FFT = 400, 160, 512
"""Samples of one spectrum, from one spectrum to the next, and of the Fourier transform.

AST's extractor takes these numbers of samples at any sampling rate.
"""

_PREEMPHASIS = 0.97
_MEL_FLOOR = 1.192092955078125e-07

SOUND_TOLERANCE = 1e-5
"""Largest difference allowed between our filter bank and the processor's.

In units of the normalised input.
"""


class PictureFinish(nn.Module):
    """Rescale and normalise uint8 ``pixel_values`` by one table per channel.

    A byte has 256 values, so a processor's rescaling, offset and normalisation
    together are a table. Learned from the processor, it is equal to the bit
    whatever the order of the processor's operations, and on every device.

    Parameters
    ----------
    table
        float32 ``(3, 256)``.
    """

    table: Tensor
    offset: Tensor

    def __init__(self, table: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table.reshape(-1).copy()))
        self.register_buffer("offset", torch.arange(3, dtype=torch.int32).view(3, 1, 1) * 256)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``pixel_values`` in float32, shape ``(items, ..., 3, height, width)``."""
        pixels = inputs["pixel_values"]
        values = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        # Piece by piece, because the index needs four bytes where a pixel has one. On the CPU one
        # frame at a time stays in a core's cache; elsewhere a whole item keeps the device busier.
        axis = -3 if pixels.device.type == "cpu" else 1
        for piece, finished in zip(_pieces(pixels, axis), _pieces(values, axis), strict=True):
            index = (piece.int() + self.offset).reshape(-1)
            torch.index_select(self.table, 0, index, out=finished.view(-1))
        return {**inputs, "pixel_values": values}


class SoundFinish(nn.Module):
    """AST's mel filter bank, padding and normalisation over a batch of sounds.

    The extractor transforms one spectrum after the other in Python. Here all
    spectra of a batch go through one transform and one matrix product, in
    float64 and rounded where the extractor rounds, within `SOUND_TOLERANCE` of it.

    Parameters
    ----------
    extractor
        A transformers ``ASTFeatureExtractor``.
    """

    window: Tensor
    filters: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401 - untyped library
        super().__init__()
        self.max_length = int(extractor.max_length)
        self.is_normalised = bool(extractor.do_normalize)
        window = np.asarray(extractor.window, np.float64)  # (samples,)
        filters = np.asarray(extractor.mel_filters, np.float64)  # (frequency, mel)
        self.register_buffer("window", torch.from_numpy(window))
        self.register_buffer("filters", torch.from_numpy(filters))
        # Tensors, not numbers: some devices divide by a number as a multiplication by its inverse.
        self.register_buffer("mean", torch.tensor(extractor.mean, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(extractor.std * 2, dtype=torch.float32))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``input_values``, float32 ``(items, max_length, mel)``.

        Made of ``samples`` and their ``attention_mask``, both ``(items, samples)``.
        """
        samples = inputs["samples"]
        # On the CPU one sound at a time, whose spectra stay in a core's cache.
        together = 1 if samples.device.type == "cpu" else len(samples)
        mel = torch.cat([self._log_mel(part.double()) for part in samples.split(together)])
        # Spectra over the padding of a batch are no part of a sound, and become zeros as the
        # extractor's own padding is.
        lengths = inputs["attention_mask"].sum(dim=1)
        spectrum_counts = 1 + (lengths - _WINDOW) // _HOP
        is_real = torch.arange(mel.shape[1], device=mel.device) < spectrum_counts[:, None]
        values = mel.new_zeros(len(mel), self.max_length, mel.shape[2])
        values[:, : mel.shape[1]] = torch.where(is_real[..., None], mel, 0.0)
        if self.is_normalised:
            values = (values - self.mean) / self.spread
        return {"input_values": values}

    def _log_mel(self, samples: Tensor) -> Tensor:
        """Return float32 ``(items, spectrum, mel)`` of float64 ``(items, samples)``.

        The operations come in the extractor's order.
        """
        frames = samples.unfold(1, _WINDOW, _HOP).contiguous()  # (items, spectrum, samples)
        # The mean of each frame, as a matrix product: four times as fast as mean().
        frames -= frames @ frames.new_full((_WINDOW, 1), 1 / _WINDOW)
        # The right side is computed before anything is written, so each sample loses a share of
        # the sample before it as it was.
        frames[..., 1:] -= _PREEMPHASIS * frames[..., :-1]
        frames[..., 0] *= 1 - _PREEMPHASIS
        spectra = torch.view_as_real(torch.fft.rfft(frames.mul_(self.window), n=_FFT))
        # Rounded to float32 and back, because the extractor keeps its spectra in complex64.
        rounded = spectra.float().double()
        squares = rounded.mul_(rounded)
        power = squares[..., 0] + squares[..., 1]
        return (power @ self.filters).clamp_(min=_MEL_FLOOR).log_().float()


def _pieces(batch: Tensor, axis: int) -> Tensor:
    """Return a view with all axes before ``axis`` as one."""
    return batch.reshape(-1, *batch.shape[axis:])


def samples_of(spectrum_count: int) -> int:
    """Return how many samples this number of spectra read."""
    return _WINDOW + (spectrum_count - 1) * _HOP
