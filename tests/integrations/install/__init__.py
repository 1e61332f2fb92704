"""Frameworks as they are, under `redpool.install()` and `redpool run`."""
