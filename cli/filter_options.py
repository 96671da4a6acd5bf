"""The options by which commands choose decisions; several take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

_Text = str | None


def _option(help_: str, *names: str) -> Any:
    return Annotated[_Text, typer.Option(*names, help=help_, show_default=False)]


#: By the names of parameters of `GET /api/v1/decisions`.
_OPTIONS: dict[str, Any] = {
    "system": _option("Of this system alone."),
    "outcome": _option("allow, deny or unreadable."),
    "since": _option("From this time on, RFC 3339, or 7d, 24h, 30m before now."),
    "until": _option("Before this time, written like --since."),
    "text": _option("With all these words in the record."),
    "where": Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="PATH=VALUE", help="With this value at this path, as labels.version=1.22.2. Repeatable.",
            show_default=False,
        ),
    ],
    "mode": _option("shadow, break-glass or any."),
    "execution": _option("Of this execution."),
    "sidecar": _option("Of this sidecar."),
    "subject": _option("Asked by this subject."),
    "issuer": _option("Of subjects of this issuer."),
    "action": _option("About this action."),
    "resource_type": _option("About resources of this type."),
    "resource": _option("About this resource, by its id."),
    "reason": _option("With this reason code."),
    "policy": _option("Answered by this policy, sha256:…."),
    "saved": _option("That a saved search finds; other options narrow it."),
}  # fmt: skip

#: What was chosen, as parameters of the API; None does not filter.
Filters = dict[str, Any]


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `filters` the options of the filter in its place."""
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in signature.parameters.items()
        if name != "filters"
    ]
    given = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]

    @wraps(command)
    def run(**arguments: Any) -> None:
        filters = {name: arguments.pop(name) or None for name in _OPTIONS}
        command(filters=filters, **arguments)

    # Typer reads the signature: all by keyword, as it calls them; what is wrapped must not be asked instead.
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    run.__signature__ = signature.replace(parameters=[*parameters, *given])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [*parameters, *given]} | {"return": None}
    del run.__wrapped__
    return run


def chosen(filters: Filters) -> list[str]:
    """The names of the options that were given."""
    return [name for name, value in filters.items() if value is not None]
