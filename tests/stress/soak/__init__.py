"""Hours in small: load and faults of all kinds, and a process that must not grow."""
