"""Late commands under a retry policy: a token of the retry budget pays for each try that follows, and for no other."""

from __future__ import annotations

import asyncio
import pickle
from functools import partial
from typing import Any

import pytest
import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import AbstractBackoff, ConstantBackoff, NoBackoff
from redis.retry import Retry

from redpool import ReplyLate
from redpool.core.retry_budget import RetryBudget
from redpool.redispy.retry import guarded_copy, sent_again_by


class Late:
    """A call whose reply is always late, and so many tokens."""

    def __init__(self, policy: Any, tokens: int) -> None:
        self.policy, self.budget, self.tries = guarded_copy(policy), RetryBudget(), 0
        self.budget._tokens = tokens

    def call(self) -> None:
        self.tries += 1
        raise sent_again_by(partial(self.budget.take, 0), redis.TimeoutError("late"), "GET", self.policy)

    def error(self) -> BaseException:
        """What its caller gets."""
        try:
            if isinstance(self.policy, AsyncRetry):
                asyncio.run(self._run())
            else:
                self.policy.call_with_retry(self.call, lambda _error: None)
        except redis.TimeoutError as error:
            return error
        raise AssertionError("it was answered")

    async def _run(self) -> None:
        async def nothing(_error: Exception) -> None: ...

        async def call() -> None:
            self.call()

        await self.policy.call_with_retry(call, nothing)


@pytest.mark.parametrize("backoff", [NoBackoff(), ConstantBackoff(0)], ids=["at once", "pauses"])
@pytest.mark.parametrize("kind", [Retry, AsyncRetry], ids=["threads", "asyncio"])
def test_each_try_that_follows_takes_a_token(kind: Any, backoff: AbstractBackoff) -> None:
    """Three tries take two tokens; with one there are two tries, the second of which is told why."""
    enough, one = Late(kind(backoff, 2), 2), Late(kind(backoff, 2), 1)
    error = enough.error()
    assert (type(error), enough.tries) == (redis.TimeoutError, 3)
    assert (enough.budget._tokens, enough.budget.refused) == (0, 0)
    assert type(pickle.loads(pickle.dumps(error))) is redis.TimeoutError  # as a task queue would have it
    error = one.error()
    assert (type(error), one.tries, one.budget.refused) == (ReplyLate, 2, 1)
    assert type(error.__cause__) is redis.TimeoutError


class OwnCalls(Retry):
    """Tries again without asking for a pause."""

    def call_with_retry(self, do: Any, fail: Any, *_args: Any, **_kwargs: Any) -> Any:
        for _ in range(self._retries):
            try:
                return do()
            except ReplyLate:
                raise
            except redis.TimeoutError as error:
                fail(error)
        return do()


@pytest.mark.parametrize("policy", [OwnCalls(NoBackoff(), 5), Retry(NoBackoff(), 0)], ids=["own calls", "one try"])
def test_where_the_last_try_is_not_known_the_token_is_taken_at_once(policy: Any) -> None:
    """Of a policy that calls in a way of its own, and of one that tries once: a cluster's client tries again then."""
    late = Late(policy, 0)
    assert type(late.error()) is ReplyLate
    assert late.tries == 1
