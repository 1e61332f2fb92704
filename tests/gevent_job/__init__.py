"""The pool for threads under gevent: greenlets in the place of threads, and timeouts that strike anywhere in a call."""
