"""`redpool top` on terminals, over made-up sources and real ones."""
