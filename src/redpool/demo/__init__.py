"""`redpool demo`: the pool at work on a server of its own, live, and compared with what it replaces."""
