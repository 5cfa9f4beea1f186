"""What the server refuses, in the form in which OpenAI's clients expect errors.

The one idea: every refusal is one exception that knows its status; the message has the field, its value and the cure.
"""

from collections.abc import Mapping
from typing import Any

from nexus.core.config import fault

_SHOWN = 60  # characters of a value that go back to the client


class ApiError(Exception):
    """A request that is not carried out.

    Args:
        status: of HTTP.
        message: what is wrong and what to do.
        param: the field at fault, if it is one.
        code: a word for programs.
        headers: to send with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON that is sent."""
        return {"error": {"message": str(self), "type": self._kind(), "param": self.param, "code": self.code}}

    def _kind(self) -> str:
        special = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return special.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")


def wrong(field: str, value: object, what: str, cure: str, code: str = "invalid_value") -> ApiError:
    """A 400 for one field."""
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "..."
    elif len(repr(value)) > _SHOWN:
        value = f"<{type(value).__name__}>"
    return ApiError(400, fault(field, value, what, cure), field, code)
