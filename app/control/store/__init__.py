"""The database: tables by noun, the engine with its three kinds of transaction, and the migrations."""

from app.control.store.access import ApiToken
from app.control.store.decision import Batch, Decision
from app.control.store.engine import Store, first_line, is_outage
from app.control.store.release import Evidence, Release
from app.control.store.sidecar import Sidecar
from app.control.store.system import Carried, Pointer, System
from app.control.store.trust import Issuer, Quarantine
from app.control.store.tuf import TufMetadata

__all__ = [
    "ApiToken",
    "Batch",
    "Carried",
    "Decision",
    "Evidence",
    "Issuer",
    "Pointer",
    "Quarantine",
    "Release",
    "Sidecar",
    "Store",
    "System",
    "TufMetadata",
    "first_line",
    "is_outage",
]
