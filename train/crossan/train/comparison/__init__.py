"""Runs set side by side.

What belongs here: the statistics of a comparison, the rule that runs must share
what they were ranked on, and the table of ``crossan compare``. What does not:
anything that opens a model. Nothing here loads torch, so the service may.
"""
