"""All knowledge of redis-py, and the only place that reaches beneath its public surface.

`options` reads what users pass; `factory` creates redis-py's connections, `lifecycle` connects, validates and closes
them, and `tracking` makes them count; `surface` is the part of a pool that redis-py's clients touch.
"""
