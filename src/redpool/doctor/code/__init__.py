"""Read the user's code, without importing it, for what goes wrong with pools.

`source` says what a file has: imports, functions, clients. `look` looks at all files together. What isn't certain isn't
reported: a client is known by how it is made, a function that handles requests by its decorator, arguments or class.
"""
