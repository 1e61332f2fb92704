"""The view over all processes of a service: each reports its pools, a reader joins them with the server's clients."""
