"""The commands that speak to a running service over HTTP.

``connection`` finds the server and a token, ``http`` asks it, ``events`` follows it. Each group of
commands is a module of its own, and imports what it needs when it is called.
"""
