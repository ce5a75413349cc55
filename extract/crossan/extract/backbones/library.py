"""The transformers library, told to speak only of errors: what matters of its notices is an error of ours."""

from __future__ import annotations

import transformers

__all__ = ["transformers"]

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
