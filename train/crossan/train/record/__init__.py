"""What a run leaves on disk.

What belongs here: the run folder, its checkpoints, and the records that decide
whether a run may be resumed. What does not: training.
"""
