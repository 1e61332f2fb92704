"""`redpool doctor`, from the command line to a real server."""
