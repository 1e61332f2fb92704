"""arq over redpool."""
