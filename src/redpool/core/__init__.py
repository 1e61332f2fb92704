"""What the pool decides, and nothing else: no socket, no thread, no event loop, no clock.

Rules of this package:

- Time comes in as an argument, randomness as a `random.Random`; what has to be done outside goes out as actions. So the
  shells for threads and for event loops, and tests with a hand-turned clock, all drive the same `PoolCore`.
- One file owns each state. `PoolCore` has the slots and the generation; its components have the rest: `IdleSet`,
  `WaitQueue`, `Connector`, `Validation`. A component never imports the pool: what it needs comes as arguments, what it
  decides goes back as values. All other files are pure functions and values.
- A slot's `state` is the truth. An exception may interrupt a change between any two bytecodes; then `repair` has each
  component `rebuild` itself from the slots' states, and gives every action again that was not begun.
- Connections, borrowers, wakers and callsites are the shell's: the core carries them and never looks inside.

Theory of operation. There are as many slots as there may be connections. A caller that finds an idle slot leaves with
it; any other gets a ticket and waits. Whatever becomes available, by a release, a connect or a validation, goes to the
first waiter, and becomes idle only where no caller waits: so an idle slot means an empty wait queue, and no newcomer
can overtake. `PoolCore._grow` is the only place where a connect is ordered; it is called after everything that could
make one necessary, and `Connector.plan` says how many. `tick` is what time brings about, and `wake_at` says when it is
due. A shell calls a method, takes the actions out of the outbox, carries them out, and answers each with the method
that the action names: `connected`, `validated`, `closed_connection`.

The words of this package (`docs/glossary.md` has those of the others):

- slot: room for one connection; a pool has as many as it may have connections.
- state: what a slot's connection is at: connecting, idle, leased (in use), validating, closing, or empty.
- generation: the number that a drain raises; connections of an older one are retired.
- connect: to open a connection, the handshake included; its attempts in a slot are counted.
- lease: the time from a checkout to the release; each in a slot has a number of its own. The caller that has the
  connection is its borrower.
- waiter: a caller in the wait queue, at its position: first come, first served. Its ticket ends once: granted, timed
  out, given up or rejected.
- hand-over: giving a released connection straight to the first waiter.
- reject: to turn a caller away at once.
- action: what the core asks a shell to carry out: connect, validate, close, cut, wake a caller, report a leak.
- ready: idle, or being validated; idle since: when a connection was last used.
- validate: to find out whether a connection is good, by a probe (a look at its socket) or a ping. One that needs
  validation has been idle for long, or is suspect: another one to the same server was found dead.
- expired: older than its lifetime. Retire: to close as soon as it is free. Drain: to retire all that are open.
- surplus: of slots, more than allowed, after a resize. Excess: of idle connections, more than were needed of late.
- reclaim: to free the slot of a connection whose borrower dropped it.
- demand: what a pool needs connections for. Back-off: the pauses between connects to a server that can't be reached.
- breaker: after `break_after` failed connects callers fail at once, until one in the background succeeds.
- inconsistent: left halfway by an interruption; repair rebuilds everything from the slots' states.
"""
