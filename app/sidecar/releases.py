"""Turning a channel's pointer into a bundle that OPA may load: fetched, verified here, composed, rehearsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.core import determinism
from app.core.compose import Composed, Library, compose
from app.core.errors import Denied, TooSlow
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.targets import ATTESTATIONS_FILE, BUNDLE_FILE, SIGNATURE_FILE, ChannelPointer, release_target
from app.core.trust import TrustConfig
from app.core.verification import VerifiedRelease, split_attestations, verify_release
from app.sidecar.config import SidecarConfig


@dataclass(frozen=True)
class Prepared:
    """A verified release, composed with the library and ready to be offered to OPA."""

    pointer: ChannelPointer
    release: VerifiedRelease
    composed: Composed


class Releases:
    """Prepares releases under the sidecar's own verification policy."""

    def __init__(self, config: SidecarConfig, trust: TrustConfig, opa: Opa, library: Library) -> None:
        """Raises `Denied` when the library itself could decide by something that it should not."""
        determinism.check_library(library, opa)
        self._config = config
        self._trust = trust
        self._opa = opa
        self.library = library

    def prepare(self, pointer: ChannelPointer, get: Callable[[str], bytes | None]) -> Prepared:
        """Get, verify and compose the release that `pointer` names. Raises `Denied`, or what `get` raises.

        `get` gives a target's bytes, or None. It need not be trusted.
        """
        bundle = get(release_target(pointer.release, BUNDLE_FILE))
        signature = get(release_target(pointer.release, SIGNATURE_FILE))
        attestations = get(release_target(pointer.release, ATTESTATIONS_FILE))
        if bundle is None:
            raise Denied(Reason.RELEASE_UNAVAILABLE, f"{pointer.release} is not among the published releases")
        release = verify_release(
            bundle,
            signature or b"",
            split_attestations(attestations or b""),
            policy=self._config.policy,
            trust=self._trust,
            opa=self._opa,
        )
        if release.digest != pointer.release:
            raise Denied(Reason.RELEASE_UNAVAILABLE, f"asked for {pointer.release}, got {release.digest}")
        composed = compose(release.bundle, self.library)
        self._check_activation_time(composed)
        return Prepared(pointer, release, composed)

    def _check_activation_time(self, composed: Composed) -> None:
        """While OPA activates a bundle it takes no lease: a slow one would deny everything for a while."""
        seconds = self._opa.rehearse(composed.raw).activation_seconds
        if seconds > self._config.lease_ttl / 2:
            raise TooSlow(
                Reason.ACTIVATION_SLOW,
                f"takes {seconds:.1f} s to activate; with a lease TTL of {self._config.lease_ttl:g} s at most half of "
                "that is allowed: raise the TTL or shrink the policy",
            )
