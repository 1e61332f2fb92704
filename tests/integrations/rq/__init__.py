"""RQ over redpool."""
