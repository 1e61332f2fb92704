"""`redpool top`: the pools of a fleet, a process or a server in a terminal.

`past` remembers what pools were like. `rows`, `clients`, `detail`, `headline`, `shown` and `document` are pure: they
make rows and texts of what was read. `looks` reads in a thread of its own, `app` is the screen, `plain` prints a table.
"""
