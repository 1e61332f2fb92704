"""A fleet: processes report, a reader sees them, one process is asked."""
