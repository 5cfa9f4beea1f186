"""The fields of a request's JSON, each taken once and checked.

The one idea: what was not taken at the end is refused by name, so nothing that a client asks for is ignored silently.
"""

from typing import Any

from nexus.serving.errors import wrong

LABEL = 512  # characters


class Fields:
    """A JSON object that is read field by field; null counts as not given."""

    def __init__(self, body: dict[str, Any], where: str = "") -> None:
        self._left = {key: value for key, value in body.items() if value is not None}
        self._where = where

    def take(self, name: str, default: Any = None) -> Any:
        """The value as it is."""
        return self._left.pop(name, default)

    def text(self, name: str) -> str:
        """A string that has to be there."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self.wrong(name, value, "is no text", "give a string")
        return value

    def text_or(self, name: str, default: str) -> str:
        """A string that may be left out."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, value, "is no text", "give a string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "is neither true nor false", "give one of the two")
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds, None if not given."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, value, "is out of range", f"give a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number within bounds."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.wrong(name, value, "is out of range", f"give a number from {low:g} to {high:g}")
        return float(value)

    def labels(self, *names: str) -> None:
        """Fields by which clients name things for themselves: checked, and without effect here."""
        for name in names:
            value = self.take(name, "")
            if not isinstance(value, str) or len(value) > LABEL:
                raise self.wrong(name, value, "is no label", f"give a string of at most {LABEL} characters")

    def only(self, name: str, *allowed: object) -> None:
        """A field that is understood, and served only with the values that ask for nothing special."""
        value = self.take(name, allowed[0])
        if not any(type(value) is type(other) and value == other for other in allowed):
            cure = f"leave it out, or give {' or '.join(map(repr, allowed))}"
            raise self.wrong(name, value, "is not supported by this server", cure, "unsupported_parameter")

    def finish(self) -> None:
        """Refuse what is left."""
        for name, value in self._left.items():
            raise self.wrong(name, value, "is not supported by this server", "leave it out", "unsupported_parameter")

    def wrong(self, name: str, value: object, what: str, cure: str, code: str = "invalid_value") -> Exception:
        """The error for a field of this object."""
        return wrong(f"{self._where}{name}", value, what, cure, code)
