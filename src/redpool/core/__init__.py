"""What the pool decides, and nothing else: no socket, no thread, no event loop, no clock.

Time comes in as an argument, randomness as a `random.Random`; what has to be done outside goes out as orders.
The threaded shell, the asyncio shell and a test with a hand-turned clock all drive the same `PoolCore`.
"""
