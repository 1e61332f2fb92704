"""Every test can use the fixtures of `support.fixtures`. A folder says where its own differ."""

pytest_plugins = ["support.fixtures"]
