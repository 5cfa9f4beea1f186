"""Errors made for the person at the terminal: one line that names the field, the value and the cure."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can put right. Printed as `error: FIELD: what. cure: ...`, exit code 2, no traceback."""

    def __init__(self, field: str, what: str, cure: str) -> None:
        super().__init__(f"{field}: {what}. cure: {cure}")
        self.field, self.what, self.cure = field, what, cure

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        return type(self), (self.field, self.what, self.cure)
