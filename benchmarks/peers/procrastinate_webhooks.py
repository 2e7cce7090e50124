"""The peer of the worker: webhooks in a procrastinate queue on PostgreSQL, as in its manual.

Run: python -m benchmarks.peers.procrastinate_webhooks fill NUMBER | work CONCURRENCY
"""

import asyncio
import os
import sys
from uuid import uuid4

import aiohttp
import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_DATABASE_URL"]))
sessions: list[aiohttp.ClientSession] = []


@app.task(queue="webhooks", retry=procrastinate.RetryStrategy(max_attempts=10, exponential_wait=2))
async def deliver(delivery: str, key: str) -> None:
    body = {"beskedId": delivery, "identifikation": key, "versionIdentifier": "0"}
    async with sessions[0].post(os.environ["PEER_URL"], json=body, headers={"webhook-id": delivery}) as response:
        response.raise_for_status()


async def fill(number: int) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await deliver.batch_defer_async(*({"delivery": str(uuid4()), "key": str(place)} for place in range(number)))


async def work(concurrency: int) -> None:
    async with app.open_async(), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        sessions.append(session)
        await app.run_worker_async(concurrency=concurrency, delete_jobs="successful", listen_notify=True)


if __name__ == "__main__":
    asyncio.run({"fill": fill, "work": work}[sys.argv[1]](int(sys.argv[2])))
