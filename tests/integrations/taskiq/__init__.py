"""taskiq over redpool."""
