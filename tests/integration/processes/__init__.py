"""Forks of every kind, event loops, greenlets, and the end of the interpreter."""
