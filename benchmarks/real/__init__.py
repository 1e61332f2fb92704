"""What `redpool.tuning` simulates, once on a real server behind a proxy that delays it. `__main__` has the command."""
