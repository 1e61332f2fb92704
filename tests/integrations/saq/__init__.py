"""saq over redpool."""
