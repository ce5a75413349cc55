"""An epoch of training.

What belongs here: steps, saving, stopping and the optimiser. What is minimised
is in `crossan.train.objectives`.
"""
