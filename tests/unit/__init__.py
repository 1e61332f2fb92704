"""Pure parts: no server, no waiting."""
