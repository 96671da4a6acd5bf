"""Ask Placet's sidecar before acting. Whatever is not a whole, well-formed allow is a denial.

`Placet` blocks, `AsyncPlacet` does not; `PlacetMiddleware` is for ASGI applications.
"""

from __future__ import annotations

from placet_sdk.answer import read_answer, read_response
from placet_sdk.asgi import OPEN, Needs, PlacetMiddleware, Request, problem
from placet_sdk.asynchronous import AsyncPlacet
from placet_sdk.client import Placet
from placet_sdk.decision import Decision, Mode, Party, Reason, Subject, WarrantUsed
from placet_sdk.errors import ConfigurationError, Denied, SDKError
from placet_sdk.execution import AsyncExecution, Execution
from placet_sdk.governed import current_decision
from placet_sdk.identity import TokenFile, request_identity
from placet_sdk.steps import AsyncStep, Step

__all__ = [
    "OPEN",
    "AsyncExecution",
    "AsyncPlacet",
    "AsyncStep",
    "ConfigurationError",
    "Decision",
    "Denied",
    "Execution",
    "Mode",
    "Needs",
    "Party",
    "Placet",
    "PlacetMiddleware",
    "Reason",
    "Request",
    "SDKError",
    "Step",
    "Subject",
    "TokenFile",
    "WarrantUsed",
    "current_decision",
    "problem",
    "read_answer",
    "read_response",
    "request_identity",
]
