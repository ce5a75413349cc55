"""Stage 2: side adapters, fusion, sequence encoder, loss, evaluation and runs.

What belongs here reads stores and never a backbone; transformers, PIL and av
are not imported. The Python API is not promised before 1.0.
"""
