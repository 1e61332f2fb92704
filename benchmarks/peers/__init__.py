"""Compare redpool with other clients for Redis, in turn, in one run, on one private server: `make compare`.

A *peer* (`contenders`) is a client or a pool, and its name. A *case* (`cases`) is a number of threads or tasks that
GET, with the peers that can do so. `runner` measures the peers of a case in turn, round by round, takes medians and
compares each with the faster of redis-py's two pools. `relay` simulates a network; `limit` is what no client exceeds.
"""
