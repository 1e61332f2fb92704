"""The shell for threads: one short lock, parked callers, a thread for each dial, one housekeeper."""
