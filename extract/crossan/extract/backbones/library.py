"""Import transformers, silenced but for errors.

What matters of its notices is raised as an error of ours.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from pydantic import ValidationError
from safetensors import SafetensorError

from crossan.extract.backbones.deferring import deferred

__all__ = [
    "FOREIGN_ERRORS",
    "find_model_class",
    "first_fault",
    "first_line",
    "load_processor",
    "transformers",
]

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


FOREIGN_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    ImportError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers and torch raise over a checkpoint whose files say what cannot be.

A ``KeyError`` for an unknown activation, a ``ZeroDivisionError`` for no attention heads, an
``ImportError`` for a library that a setting needs, and so on. MemoryError is not among them.
"""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, with its class where that says more."""
    lines = str(error).strip().splitlines() or [""]
    # What a LookupError says is a bare key, and what an AttributeError says a bare name.
    is_sentence = isinstance(error, ValueError | OSError | RuntimeError) and lines[0]
    return lines[0] if is_sentence else f"{type(error).__name__}: {lines[0]}"


def first_fault(error: ValidationError) -> str:
    """Return which entry of a JSON object is wrong, and how."""
    # Where several kinds of value are allowed, the one that came furthest is the one meant.
    fault = max(error.errors(), key=lambda fault: len(fault["loc"]))
    # Between the keys stand names of the kinds that were tried.
    keys = [part for part in fault["loc"] if isinstance(part, int) or not set(part) & set("[-")]
    where = ".".join(map(str, keys))
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, found {fault['input']!r:.60}"


def find_model_class(class_name: str) -> Any:  # noqa: ANN401 - untyped library
    """Return a model's class, importing what its forward needs.

    Parameters
    ----------
    class_name
        Name in `transformers`.
    """
    # With every model come the losses of object detection, which take one function of scipy's
    # optimisers. These import much, for what a frozen backbone never calls.
    try:
        with deferred("scipy.optimize", "linear_sum_assignment"):
            return getattr(transformers, class_name)
    except ImportError:
        # A library that takes a module from within it, as scikit-learn does, needs the real one.
        return getattr(transformers, class_name)


def load_processor(class_name: str, folder: str | os.PathLike[str]) -> Any:  # noqa: ANN401
    """Return the tokeniser, image processor or feature extractor of a checkpoint's folder.

    Parameters
    ----------
    class_name
        Name in `transformers`.
    """
    if class_name == "ASTFeatureExtractor":
        from transformers.models.audio_spectrogram_transformer import (
            feature_extraction_audio_spectrogram_transformer as ast,
        )

        # Where torchaudio is installed this class would compute its filter bank by other code,
        # and give other numbers under the same fingerprint.
        ast.is_speech_available = lambda: False
    with warnings.catch_warnings():
        # AST's published settings leave one of 128 mel filters empty, and a user cannot change it.
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        return getattr(transformers, class_name).from_pretrained(folder, local_files_only=True)
