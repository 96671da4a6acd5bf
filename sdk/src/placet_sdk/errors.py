"""What the SDK raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placet_sdk.decision import Decision


class SDKError(Exception):
    """Everything that this SDK raises on purpose."""


class ConfigurationError(SDKError):
    """The SDK is used wrongly: an address, a file, an option or a decorated function that cannot work."""


class Denied(SDKError):
    """The decision is a denial. `decision` says why."""

    def __init__(self, decision: Decision) -> None:
        super().__init__("; ".join(f"{code}: {message}" for code, message in decision.reasons))
        self.decision = decision

    def __reduce__(self) -> tuple[type[Denied], tuple[Decision]]:
        return type(self), (self.decision,)  # so that it passes from process to process


class Doubt(Exception):
    """Why there is no decision: a reason code and a line for people. Clients turn it into a denial."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
