"""What no caller would think of, found by Hypothesis: options, the server's bytes, and what users do with a pool."""
