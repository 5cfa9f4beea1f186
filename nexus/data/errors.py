"""The error of this room: what is wrong with which value, and the cure, in one line."""

from __future__ import annotations


class DataError(ValueError):
    """Data can't be had or read as asked. The text reads `FIELD: what. cure: ...`, ready for a user."""

    def __init__(self, field: str, what: str, cure: str) -> None:
        super().__init__(f"{field}: {what}. cure: {cure}")
        self.field, self.what, self.cure = field, what, cure

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, str]]:
        return type(self), (self.field, self.what, self.cure)
