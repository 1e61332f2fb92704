"""How pools are made and how they connect: options, handshakes, failures, connecting again."""
