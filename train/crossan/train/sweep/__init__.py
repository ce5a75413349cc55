"""The command ``crossan sweep``, which chooses settings by validation alone.

What belongs here: which trials there are, where and when they run, and how one
setting is chosen. What does not: training itself, as a trial is a process of
``crossan-train --validation-only``, and anything that looks at test targets. The
one exception is `crossan.train.sweep.judging`, which takes nothing but a chosen
setting.
"""
