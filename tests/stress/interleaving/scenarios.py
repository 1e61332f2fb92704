"""What threads do to a multiplexed connection, or to the set of them, at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from .scheduler import Decider, Scheduler
from .world import PATIENCE, Adapter, World

Actor = Callable[[World, str], None]
TURNS = 8  # of maintenance, a second apart, until what is draining must have been released


def call(world: World, name: str) -> None:
    """A caller like any other."""
    world.scheduler.spawn(name, lambda: world.call(name))


def late(world: World, name: str) -> None:
    """A caller whose deadline comes before its reply."""
    world.server.held.add(name)

    def answer() -> None:
        world.scheduler.wait_for(lambda: False, 1.0, "the server is busy")
        world.server.held.discard(name)
        world.server.answer()

    world.scheduler.spawn(name, lambda: world.call(name, 0.5))
    world.scheduler.spawn(f"{name}'s server", answer).background = True


def interrupted(world: World, name: str) -> None:
    """A caller that an asynchronous exception interrupts."""
    world.scheduler.spawn(name, lambda: world.call(name)).victim = True


def partial(world: World, name: str) -> None:
    """A caller while the server takes only part of a write, and then, once, nothing."""
    world.sockets()[0].takes = [5, 0]
    call(world, name)


def finalizer(world: World, name: str) -> None:
    """A caller whose thread, in the midst of the call, finalizes what had sent another request."""
    left = world.subject.request(f"{name}'s left")

    def work() -> None:
        world.subject.send(left)
        me.planted = lambda: world.subject.abandon(left)
        world.call(name)
        me.run_planted()

    me = world.scheduler.spawn(name, work)


def handler(world: World, name: str) -> None:
    """A caller whose thread, in the midst of the call, runs a signal handler that makes another one."""

    def work() -> None:
        me.planted = lambda: world.call(f"{name}'s handler")
        world.call(name)

    me = world.scheduler.spawn(name, work)


def loss(world: World, name: str) -> None:
    """The server hangs up."""

    def work() -> None:
        world.lossy = True
        for sock in world.sockets():
            sock.hang_up()

    world.scheduler.spawn(name, work)


def push(world: World, name: str) -> None:
    """The server sends a push, in between any two replies."""

    def work() -> None:
        for sock in world.sockets():
            if not sock.returned:
                sock.push()

    world.scheduler.spawn(name, work)


def lose(world: World, name: str) -> None:
    """Another thread has the connection lost."""

    def work() -> None:
        world.lossy = True
        world.subject.lose()

    world.scheduler.spawn(name, work)


def detach(world: World, name: str) -> None:
    """Retire it; the caller that finds nothing in it any more releases it, and its next owner uses it."""

    def work() -> None:
        world.detached = True
        world.subject.retire()

    world.scheduler.spawn(name, work)


def call_and_detach(world: World, name: str) -> None:
    """A caller that then retires the connection."""

    def work() -> None:
        world.call(name)
        world.detached = True
        world.subject.retire()

    world.scheduler.spawn(name, work)


def maintenance(world: World, name: str) -> None:
    """The maintenance thread's turn."""
    world.scheduler.spawn(name, lambda: world.subject.look_after())


def close(world: World, name: str) -> None:
    """The pool is closed."""

    def work() -> None:
        world.detached = True
        world.subject.close()

    world.scheduler.spawn(name, work)


OF_ONE: tuple[Actor, ...] = (call, late, interrupted, partial, finalizer, loss, push, lose, detach, maintenance)
OF_SEVERAL: tuple[Actor, ...] = (*OF_ONE, handler, close)
TRIPLES: tuple[tuple[Actor, ...], ...] = (
    (call, call_and_detach, call),
    (call, call, detach),
    (late, call, detach),
    (interrupted, call, call),
    (interrupted, call, detach),
    (call, detach, detach),
    (call, loss, maintenance),
)


@dataclass(frozen=True)
class Scenario:
    """Actors that act at the same time, on one multiplexed connection or on the set of them."""

    level: str
    actors: tuple[Actor, ...]

    def __str__(self) -> str:
        return f"{self.level}-{'-'.join(each.__name__ for each in self.actors)}"

    def run(self, adapter: Adapter, decide: Decider, opcodes: bool = False) -> Scheduler:
        """Run it once, and check all that must hold."""
        world = World(adapter, decide, opcodes or interrupted in self.actors)
        with world.patched():
            world.subject = adapter.one(world) if self.level == "one" else adapter.several(world)
            world.call("before")
            for number, actor in enumerate(self.actors):
                actor(world, f"{actor.__name__}{number}")
            others = [each for each in world.scheduler.threads if not each.background]
            afterwards = world.scheduler.spawn("afterwards", lambda: self._look_back(world))
            afterwards.ready, afterwards.traced = lambda: all(each.ended for each in others), False
            world.scheduler.run()
        world.check_threads()
        return world.scheduler

    def _look_back(self, world: World) -> None:
        """What is left works, or can be released, and each connection is released once."""
        run, subject = world.scheduler, world.subject
        usable = not (subject.is_lost() or world.detached) if self.level == "one" else close not in self.actors
        # Only maintenance finds out about a role that was not left, as by one interrupted where it deals with an error.
        looks = interrupted in self.actors
        for turn in range((TURNS if looks else 3) if usable else 0):
            result = world.call(f"afterwards{turn}")
            if (result is not None and result.how == "reply") or (self.level == "one" and subject.is_lost()):
                break
            if looks:
                subject.look_after()
        else:
            if usable:
                run.fail("unusable: all calls have failed afterwards")
        world.detached = True
        subject.close()  # a further one may just be connecting
        for _ in range(TURNS):
            if world.all_returned():
                return
            subject.look_after()
            run.wait_for(lambda: False, run.now + PATIENCE, "afterwards")
        run.fail("never given back")


def scenarios(level: str) -> list[Scenario]:
    """Every two actors, and the threes."""
    return pairs(level) + triples(level)


def named(name: str) -> Scenario:
    """Return a scenario by its name."""
    return next(each for level in ("one", "several") for each in scenarios(level) if str(each) == name)


def pairs(level: str) -> list[Scenario]:
    """Every two of them."""
    actors = OF_ONE if level == "one" else OF_SEVERAL
    return [Scenario(level, pair) for pair in itertools.combinations_with_replacement(actors, 2)]


def triples(level: str) -> list[Scenario]:
    """Those that showed something."""
    return [Scenario(level, each) for each in TRIPLES]
