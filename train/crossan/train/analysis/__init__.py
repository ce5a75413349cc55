"""What a trained model and its features are like, as pure functions of arrays.

What belongs here: one estimate or table per module, with its source and what it
cannot say. What does not: opening a run (`crossan.train.runs.analysing`) and
printing. `crossan.train.analysis.efficiency` loads without torch, for tables of
many runs.
"""
