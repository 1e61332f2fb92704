"""What follows single calls of clients: each way is a file of its own, which imports the library that it reports to.

- `redpool.instrumentation.opentelemetry`: a span for each command; the extra `redpool[opentelemetry]`
"""
