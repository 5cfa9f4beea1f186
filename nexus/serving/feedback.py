"""`POST /v1/feedback`: whether an answer was right, for the alarm of the channel that gave it.

`GET` says how the channels stand. The body is ``{"id": "...", "right": true}``, the id from an answer's field `nexus`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from nexus.living.journal import OWNER
from nexus.serving.desk import Desk
from nexus.serving.errors import ApiError
from nexus.serving.fields import Fields

Body = Callable[[Any], Awaitable[dict[str, Any]]]


def add_feedback(app: Any, desk: Desk, read: Body) -> None:
    """Add the two routes; ``read`` gives a request's JSON."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response

    @app.post("/v1/feedback", response_model=None)
    async def give(request: Request) -> Response:
        fields = Fields(await read(request))
        ident, right = fields.text("id"), fields.take("right")
        if not isinstance(right, bool):
            raise fields.wrong("right", right, "is neither true nor false", "give one of the two")
        fields.finish()
        try:
            still = await desk.run(desk.living.feedback, request.state.owner or OWNER, ident, right)
        except ValueError as error:
            raise ApiError(404, str(error), "id", "unknown_answer") from None
        return JSONResponse({"noted": True, "open": still})

    @app.get("/v1/feedback", response_model=None)
    async def state(request: Request) -> Response:
        return JSONResponse(await desk.run(desk.living.status, request.state.owner or OWNER))
