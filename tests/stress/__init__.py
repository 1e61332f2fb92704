"""Long runs: storms, interleavings, strict interpreters, soaking."""
