"""A process that answers from one run, which no other part of the service opens.

``python -m crossan.train.service.recommender SOCKET RUN --version N`` listens on a Unix socket. The
server process imports nothing of this folder but `wire`, which needs the standard library only.
"""
