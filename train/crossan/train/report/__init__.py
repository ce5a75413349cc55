"""The page ``report.html`` of a run, or of a run beside its twin.

It needs no script and no network.
"""
