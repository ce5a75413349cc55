"""Several processes that train one run together.

What belongs here: how a process becomes a rank, and what passes between ranks.
Loss and gradients are those of one process (`crossan.train.objectives.shared_step`).
With one process nothing here communicates.
"""
