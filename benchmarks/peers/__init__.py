"""redpool beside the other clients for Redis, in turn, in one run, on one private server: `make compare`.

A *peer* (`contenders`) is a client or a pool under its name; a *case* (`cases`) is so many threads or tasks that GET,
with the peers that can. `runner` measures the peers of a case in turn, round by round, takes medians and compares each
with the faster of redis-py's two pools. `relay` stands in for a network; `limit` is what no client can go beyond.
"""
