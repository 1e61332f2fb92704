"""Unlikely cases, found by Hypothesis: options, the server's bytes, and what users do with a pool."""
