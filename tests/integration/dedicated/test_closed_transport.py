"""A connection that was closed under its user's hands (field notes 23 and 45)."""

from __future__ import annotations

import asyncio

import pytest
import redis

import redpool.asyncio


def test_nothing_is_written_to_a_closed_transport(redis_url: str) -> None:
    """The user sees a ConnectionError; asking the transport would harm what has its descriptor by then."""

    async def main() -> None:
        async with redpool.asyncio.ConnectionPool.from_url(redis_url) as pool:
            connection = await pool.get_connection()
            transport = connection._writer.transport
            transport.abort()
            transport.write = transport.writelines = lambda _: pytest.fail("was asked to write")
            with pytest.raises(redis.ConnectionError):
                await connection.send_command("PING")
            await pool.release(connection)
            assert pool.stats().closed == {"error": 1}

    asyncio.run(main())
