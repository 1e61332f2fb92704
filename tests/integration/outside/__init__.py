"""What comes from outside over redpool's pools and clients: tracers, a test double, users' own connection classes."""
