"""What the control plane counts, for Prometheus. One registry for each app, so that tests do not share counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.core.reason_codes import Reason

_REASONS = {str(reason) for reason in Reason}


class Metrics:
    """The counters of one control plane."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "placet_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.records = Counter(
            "placet_records_ingested", "Records stored.", ["system", "outcome"], registry=self.registry
        )
        self.denials = Counter(
            "placet_denials", "Denied decisions in stored records, by reason.", ["reason"], registry=self.registry
        )
        self.mode_uses = Counter(
            "placet_mode_uses",
            "Decisions that rest on shadow or break-glass.",
            ["system", "mode"],
            registry=self.registry,
        )
        self.refusals = Counter(
            "placet_releases_refused", "Releases that did not verify, by reason.", ["reason"], registry=self.registry
        )
        self.freshness_failures = Counter(
            "placet_tuf_signing_failures", "Times that the TUF timestamp could not be signed.", registry=self.registry
        )
        self.issuer_failures = Counter(
            "placet_issuer_refresh_failures",
            "Times that an issuer's keys could not be fetched.",
            ["issuer"],
            registry=self.registry,
        )
        self.batches_refused = Counter(
            "placet_batches_refused",
            "Signed batches that were not taken, by reason.",
            ["system", "reason"],
            registry=self.registry,
        )
        self.breaks = Counter(
            "placet_lineage_breaks",
            "Breaks of lineage that stopped a sidecar.",
            ["system", "reason"],
            registry=self.registry,
        )
        self.age = Gauge("placet_tuf_timestamp_age_seconds", "Age of the TUF timestamp.", registry=self.registry)

    def count_denials(self, reason: str, count: int) -> None:
        """Count denials. Reasons of user policies share one label: their number has no bound."""
        self.denials.labels(reason if reason in _REASONS else "policy").inc(count)

    def count_uses(self, system: str, mode: str, count: int) -> None:
        """Count decisions that rest on a mode. What a record calls it otherwise shares one label."""
        self.mode_uses.labels(system, mode if mode in ("shadow", "break-glass") else "other").inc(count)
