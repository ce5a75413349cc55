"""``crossan sweep``: settings and seeds side by side, chosen by validation alone.

Belongs here: which trials there are, where and when they run, how one setting
is chosen. A trial is a ``crossan-train --validation-only`` process, so training
itself does not belong here; neither does anything that looks at test targets,
but for `crossan.train.sweep.test_figures`, which takes nothing but a chosen setting.
"""
