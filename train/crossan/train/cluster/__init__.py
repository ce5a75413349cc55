"""Training on the workers of a Ray cluster.

What belongs here: the engine that starts workers and the worker that joins its
ranks. What ranks do is in `crossan.train.ranks`.
"""
