"""A step of a workflow behind HTTP: start a script, and ask for its result later.

    POST /scripts        202, with `Location` and `Retry-After`
    GET  /scripts/{id}   202 with `Retry-After` while it runs, then 200 with the result

The `Idempotency-Key` is the correlation id: a request that is sent again, also after a restart of
this server, returns the session that the first one started.

    uvicorn fastapi_step:app
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from mde_live_response import Command, LiveResponseClient, LiveResponseError, Session


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with LiveResponseClient() as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


class Script(BaseModel):
    machine: str
    name: str
    comment: str
    args: list[str] = []


def accepted(session: Session) -> JSONResponse:
    """Return where and when to ask for the result."""
    retry_after = str(math.ceil(session.next_poll_in))
    headers = {"Location": f"/scripts/{session.id}", "Retry-After": retry_after}
    return JSONResponse(session.to_dict(), 202, headers)


@app.post("/scripts")
async def start(
    script: Script, request: Request, idempotency_key: Annotated[str, Header()]
) -> JSONResponse:
    client: LiveResponseClient = request.app.state.client
    command = Command.run_script(script.name, script.args)
    submitting = client.submit_async(
        script.machine, command, script.comment, correlation_id=idempotency_key, timeout=20
    )
    return accepted(await submitting)


@app.get("/scripts/{action_id}", response_model=None)
async def look(action_id: UUID, request: Request) -> dict[str, Any] | JSONResponse:
    client: LiveResponseClient = request.app.state.client
    session = client.session(str(action_id))
    # Callers that ask too often do not use up the limit of the service.
    if not (await session.refresh_async(max_age=3)).done:
        return accepted(session)
    return (await session.result_async()).to_dict()


@app.exception_handler(LiveResponseError)
async def explain(_: Request, error: LiveResponseError) -> JSONResponse:
    return JSONResponse(error.to_dict(), 503 if error.retryable else 422)
