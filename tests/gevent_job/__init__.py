"""The pool for threads under gevent: greenlets instead of threads, and timeouts that interrupt a call anywhere."""
