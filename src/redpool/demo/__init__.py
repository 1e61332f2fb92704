"""`redpool demo`: the pool at work on a server of its own, live, and beside what it replaces."""
