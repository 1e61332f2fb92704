"""The load bench: redis-py's pools and redpool's, in turn, in one run, on one server.

A *case* (`cases`) is one question with one or more *sides* (a kind of pool, or a size) and *targets*. The `runner`
measures the sides in turn for several rounds, takes medians and compares the last side with the first. It does so with
the scheduler free, and again with client and server pinned to one CPU. `load` repeats calls from many threads or tasks
and records every caller's waits. `floor` compares redpool with the same work by what `bare` has, which no client can
beat. `screen` is the one file that needs rich; `redpool bench` starts in `command`.
"""
