"""redpool under valkey-py: `redpool.valkey`, and URLs that say valkey."""
