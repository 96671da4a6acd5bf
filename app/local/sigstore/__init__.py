"""A real Sigstore on loopback, for development and tests: Fulcio, a CT log, a timestamp authority and Rekor v2."""

from app.local.sigstore.ports import Ports
from app.local.sigstore.stack import LocalSigstore

__all__ = ["LocalSigstore", "Ports"]
