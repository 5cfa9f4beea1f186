"""Chat templates: Jinja in a sandbox, with the few helpers that the templates of published models rely on."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_TOYS = ("lipsum", "cycler", "joiner")  # of Jinja's own: the less a foreign template can reach, the better


class ChatTemplate:
    """A compiled template.

    Raises:
        ValueError: the source is not a template.
    """

    def __init__(self, source: str) -> None:
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise ValueError(f"chat_template: does not parse ({error}); restore the file") from None

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The prompt for these messages; ``variables`` are what else the template may see.

        Raises:
            ValueError: the template refuses the messages (their roles or order, most often).
        """
        try:
            return self._template.render(messages=messages, **variables)
        except TemplateError as error:
            raise ValueError(f"messages: the chat template refuses them ({error}); mend roles and order") from None


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own convention

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    for name in _TOYS:
        del made.globals[name]
    made.filters["tojson"] = _to_json
    made.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    return made


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter escapes characters that matter to HTML only."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
