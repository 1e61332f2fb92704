"""What comes from outside over redpool's pools and clients: a test double, tracers' patches, users' own classes."""
