"""Nothing leaks, nothing lies: every reply is its asker's, every place comes back, whatever interruptions."""
