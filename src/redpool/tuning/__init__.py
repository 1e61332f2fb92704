"""How large a pool should be, and what would be if: answered by the pool's own decisions under a virtual clock.

- `simulator` drives a `PoolCore` with callers and a virtual server, in no time. `workloads` says which callers come,
  `servers` how long their calls take.
- `replay` makes a pool's record (`redpool.core.record`) into callers again; `advice` searches for the smallest size
  that serves them well; `formulas` and `counters` answer where only counters are known.
- `picture` draws curves. All of these are pure, and their chance comes out of seeds.
- `command` is `redpool tune`, `what_if` is `redpool simulate`, `screen` what both print; `capture` runs a program whose
  pools are recorded.
"""
