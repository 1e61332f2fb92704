"""What the pool decides, and nothing else: no socket, no thread, no event loop, no clock.

Time comes in as an argument, randomness as a `random.Random`; what has to be done outside goes out as orders.
The threaded shell, the asyncio shell and a test with a hand-turned clock all drive the same `PoolCore`.

The words of this package (`docs/glossary.md` has those of the others):

- slot: room for one connection; a pool has as many as it may have connections.
- connect: to open a connection, the handshake included.
- lease: the time from a checkout to the release; the caller that has the connection is its borrower.
- waiter: a caller in the wait queue, at its position: first come, first served.
- hand-over: giving a released connection straight to the first waiter.
- reject: to turn a caller away at once.
- action: what the core asks a shell to carry out: connect, validate, close, wake a caller, report a leak.
- idle since: when an idle connection was last used.
- validate: to find out whether a connection is good, by a probe (a look at its socket) or a ping. One that needs
  validation has been idle for long, or is suspect: another one to the same server was found dead.
- expired: older than its lifetime. Retire: to close as soon as it is free. Drain: to retire all that are open.
- generation: the number that a drain raises; connections of an older one are retired.
- reclaim: to free the slot of a connection whose borrower dropped it.
- inconsistent: left halfway by an interruption; repair rebuilds everything from the slots' states.
"""
