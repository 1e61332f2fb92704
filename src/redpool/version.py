"""The version of redpool, for all that name it: also for what lies beneath the package's own names."""

__version__ = "0.1.0"
