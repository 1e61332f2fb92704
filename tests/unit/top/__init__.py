"""What `redpool top` shows, told by made-up views; no terminal is needed."""
