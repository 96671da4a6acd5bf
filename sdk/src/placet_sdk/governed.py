"""Functions that run only if their call is allowed: how the arguments of a call become a question."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from placet_sdk.decision import Decision
from placet_sdk.errors import ConfigurationError

_F = TypeVar("_F", bound=Callable[..., Any])
_current: ContextVar[Decision | None] = ContextVar("placet_decision", default=None)


class Decorator(Protocol):
    """Gives a function of the same signature."""

    def __call__(self, function: _F, /) -> _F:
        """The governed function."""


def current_decision() -> Decision:
    """The allow under which the calling code runs: inside a governed function or a governed HTTP request.

    Raises LookupError elsewhere.
    """
    decision = _current.get()
    if decision is None:
        raise LookupError("this does not run inside a governed function or request")
    return decision


class under:
    """Makes a decision the current one, as a context manager."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def __enter__(self) -> None:
        self._token = _current.set(self._decision)

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)


class Mappers:
    """The parts of a question, each a value or a function of some arguments of the call."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._fixed: dict[str, Any] = {}
        self._mapped: dict[str, tuple[Callable[..., Any], list[inspect.Parameter]]] = {}
        for name, part in parts.items():
            parameters = _parameters(name, part) if callable(part) else []
            if callable(part) and (parameters or name != "identity"):
                self._mapped[name] = (part, parameters)
            else:
                self._fixed[name] = part  # a source of identities is asked by the client

    def parameters(self) -> list[inspect.Parameter]:
        """Every parameter that a function asks for, once. Raises ConfigurationError if two disagree about one."""
        found: dict[str, inspect.Parameter] = {}
        for _, parameters in self._mapped.values():
            for parameter in parameters:
                if found.setdefault(parameter.name, parameter) != parameter:
                    raise ConfigurationError(f"two functions declare the parameter {parameter.name!r} differently")
        return sorted(found.values(), key=lambda parameter: parameter.name)

    def question(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments for `decide`, from those of a call."""
        mapped = {
            name: function(**{parameter.name: arguments[parameter.name] for parameter in parameters})
            for name, (function, parameters) in self._mapped.items()
        }
        return self._fixed | mapped


def _parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(f"{name}=: the parameter {parameter} cannot be given by name")
    return [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in parameters]


def decorator(require: Callable[..., Any], parts: Mapping[str, Any]) -> Decorator:
    """Let `require`, which may be asynchronous, come before each call of a function."""
    mappers = Mappers(parts)

    def decorate(function: Any) -> Any:
        _check(function, require)
        signature = inspect.signature(function)
        unknown = [one.name for one in mappers.parameters() if one.name not in signature.parameters]
        if unknown:
            raise ConfigurationError(f"{function.__qualname__} has no parameters {', '.join(unknown)}")

        def question(args: Any, kwargs: Any) -> dict[str, Any]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return mappers.question(bound.arguments)

        @functools.wraps(function)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            with under(require(**question(args, kwargs))):
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            with under(await require(**question(args, kwargs))):
                return await function(*args, **kwargs)

        return awaiting if inspect.iscoroutinefunction(require) else blocking

    return cast(Decorator, decorate)


def dependency(require: Callable[..., Any], parts: Mapping[str, Any]) -> Callable[..., Any]:
    """`require` as a function whose parameters are those that the parts' functions ask for."""
    mappers = Mappers(parts)

    def blocking(**arguments: Any) -> Decision:
        return cast(Decision, require(**mappers.question(arguments)))

    async def awaiting(**arguments: Any) -> Decision:
        return await cast(Awaitable[Decision], require(**mappers.question(arguments)))

    chosen: Any = awaiting if inspect.iscoroutinefunction(require) else blocking
    chosen.__signature__ = inspect.Signature(mappers.parameters(), return_annotation=Decision)
    return cast(Callable[..., Any], chosen)


def _check(function: Any, require: Callable[..., Any]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{name} is a generator: it would run after its decision; ask inside it instead")
    if inspect.iscoroutinefunction(function) != inspect.iscoroutinefunction(require):
        raise ConfigurationError(f"{name}: use Placet for functions and AsyncPlacet for coroutine functions")
