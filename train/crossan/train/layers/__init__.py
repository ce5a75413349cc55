"""What models are built of.

What belongs here: modules that turn tensors into tensors and know nothing of
runs, stores or settings. A whole model lives in `crossan.train.models`.
"""
