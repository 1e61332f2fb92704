"""A fleet: reports as bytes, and whose a client is."""
