"""The reason codes that a client states itself. The whole table, with remedies, is in docs/reasons.md."""

from __future__ import annotations

from typing import Final

#: What was to be sent, or was sent, is not a request that OPA takes.
REQUEST_MALFORMED: Final = "request.malformed"
#: The source of the identity gave none.
IDENTITY_MISSING: Final = "identity.missing"
#: The execution has ended.
EXECUTION_EXPIRED: Final = "execution.expired"
#: OPA answered without a result.
DECISION_UNDEFINED: Final = "decision.undefined"
#: The answer is not a decision of the documented form.
DECISION_MALFORMED: Final = "decision.malformed"
#: OPA failed to evaluate.
EVALUATION_ERROR: Final = "evaluation.error"
#: An obligation that the caller did not say it fulfils.
OBLIGATION_UNFULFILLED: Final = "obligation.unfulfilled"
#: No answer in time, no connection, or not the pinned sidecar.
SIDECAR_UNREACHABLE: Final = "sidecar.unreachable"
