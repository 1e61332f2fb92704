"""`redpool doctor`: what will go wrong with a server, a pool, a fleet or the code that uses them, and what to write.

`facts` are values: `server`, `pools` and `code` gather them, each from one source. `rules` are pure functions from
facts to findings. `report` puts the two together, and `screen` and `sarif` show it.

All names in facts come from outside, and a hostile process chooses its own: they are cleaned where they are shown.
"""
