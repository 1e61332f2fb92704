"""redpool with the real packages of others, in an environment of their own: `make integrations`.

A small application of each framework, what tracers see, and uWSGI, which forks by itself.
"""
