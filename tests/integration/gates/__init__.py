"""Every way through the gates that a call passes: connect, handshake, check, send, reply, release."""
