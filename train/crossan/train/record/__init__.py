"""What a run leaves on disk.

What belongs here: the run folder, its checkpoints, and the records that tell
whether a run may go on. No training.
"""
