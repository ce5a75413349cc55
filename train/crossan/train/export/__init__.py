"""A run for other programs: item vectors and the user encoder, in files that need no crossan.

What belongs here: the files of an export, their manifest and their page. What
does not: how vectors are computed (`crossan.train.runs`).
"""
