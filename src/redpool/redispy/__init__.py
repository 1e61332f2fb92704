"""All knowledge of redis-py, and the only place that reaches beneath its public surface.

`options` reads what users pass, `connections` opens and judges redis-py's connections, `surface` is the part of a pool
that redis-py's clients touch.
"""
