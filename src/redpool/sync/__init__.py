"""The shell for threads: one short lock, parked callers, a thread for each connect, one maintenance thread."""
