"""Who waits for how long: deadlines, timeouts, blocking commands, the queue."""
