"""Import transformers, silenced but for errors.

What matters of its notices is raised as an error of ours.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import transformers

__all__ = ["load_processor", "transformers"]

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


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
