"""Exporters: each is a file of its own, which imports the library that it exports to. All read `pool.stats()`.

- `redpool.metrics.prometheus`: the extra `redpool[prometheus]`
- `redpool.metrics.opentelemetry`: the extra `redpool[opentelemetry]`
- `redpool.metrics.statsd`: the extra `redpool[statsd]`
- `redpool.metrics.logs`: the standard library
"""
