"""`redpool run`: a command whose processes, Python's at least, have called `redpool.install()`."""
