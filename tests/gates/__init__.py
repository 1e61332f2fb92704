"""Every way through the gates that a call passes: dial, handshake, check, send, reply, release."""
