"""One file for each model that a results table may name.

What belongs here: how a model is composed of layers. What it minimises is in
`crossan.train.objectives`, how it is trained in `crossan.train.loop`.
"""
