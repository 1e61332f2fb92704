"""For tests of what uses a pool: a server, a faulty network, scripted connections, a hand-turned clock, simulated load.

See docs/testing.md.
"""

from .clock import Clock
from .proxy import FaultProxy
from .scripted import Script, Slow
from .server import MemoryServer
from .simulation import Simulation

__all__ = ["Clock", "FaultProxy", "MemoryServer", "Script", "Simulation", "Slow"]
