"""The comparison with other clients, and the fault table."""
