"""limits over redpool."""
