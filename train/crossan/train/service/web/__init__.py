"""The HTTP interface: who may call what, and the routes of each room."""
