"""Flask over redpool."""
