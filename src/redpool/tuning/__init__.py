"""How large a pool should be, and what would be if: answered by the pool's own decisions under a virtual clock.

`simulator` drives a `PoolCore` with callers and a virtual server, in no time. `workloads` says which callers come,
`servers` how long their calls take. All three are pure, and their chance comes out of seeds.
"""
