"""The pool for threads under gevent: greenlets in the place of threads, and timeouts that interruption anywhere in a call."""
