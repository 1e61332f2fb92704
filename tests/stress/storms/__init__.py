"""Nothing leaks, nothing lies: every reply is its asker's, every slot comes back, whatever interrupts."""
