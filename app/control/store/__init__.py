"""The database: tables by noun, the engine with its three kinds of transaction, and the migrations."""

from app.control.store.access import ApiToken
from app.control.store.batch_value import BatchValue
from app.control.store.break_statement import SignedBreak
from app.control.store.decision import Batch, Decision, batch_words, decision_row
from app.control.store.engine import Store, first_line, is_outage
from app.control.store.enrolment import Allowance, Enrolment, Eviction, JoinToken
from app.control.store.erasure import ErasedBatch, Erasure, Hold, Retention
from app.control.store.execution import Execution, Redemption
from app.control.store.governance import AttestationResult, Governance, Mode
from app.control.store.impact import ImpactReport
from app.control.store.lineage import LineageBreak
from app.control.store.link import Link, LinkResource
from app.control.store.release import Evidence, Release
from app.control.store.seal import Seal
from app.control.store.seals import Seals
from app.control.store.search import Forward, ForwardBatch, SavedSearch
from app.control.store.sidecar import Sidecar
from app.control.store.signing_key import SigningKey
from app.control.store.system import Carried, Pointer, System
from app.control.store.trust import DomainLink, Issuer, IssuerSource, Quarantine, SubjectGrant
from app.control.store.trust_state import TrustState
from app.control.store.tuf import TufMetadata
from app.control.store.warrant import Approval, Warrant, WarrantRevocation

__all__ = [
    "Allowance",
    "ApiToken",
    "Approval",
    "AttestationResult",
    "Batch",
    "BatchValue",
    "Carried",
    "Decision",
    "DomainLink",
    "Enrolment",
    "ErasedBatch",
    "Erasure",
    "Eviction",
    "Evidence",
    "Execution",
    "Forward",
    "ForwardBatch",
    "Governance",
    "Hold",
    "ImpactReport",
    "Issuer",
    "IssuerSource",
    "JoinToken",
    "LineageBreak",
    "Link",
    "LinkResource",
    "Mode",
    "Pointer",
    "Quarantine",
    "Redemption",
    "Release",
    "Retention",
    "SavedSearch",
    "Seal",
    "Seals",
    "Sidecar",
    "SignedBreak",
    "SigningKey",
    "Store",
    "SubjectGrant",
    "System",
    "TrustState",
    "TufMetadata",
    "Warrant",
    "WarrantRevocation",
    "batch_words",
    "decision_row",
    "first_line",
    "is_outage",
]
