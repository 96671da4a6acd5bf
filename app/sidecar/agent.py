"""The agent: puts the parts together, and takes them apart in the right order.

    metadata ──► rollout ──► bundle server ──► OPA ──► records ──► shipper ──► control plane
        └──────────────► lease ───────────────►┘

Each part is a loop of its own. They meet in `Doubts`: the lease is renewed only while every one of them vouches.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.core.compose import Library
from app.core.errors import PlacetError
from app.core.governance import sidecar_id
from app.core.modes import Mode, verify_mode
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.sidecar import (
    journal_shipping,
    metadata,
    metadata_watcher,
    opa_keeper,
    opa_process,
    record_keeper,
    reserve,
    shipper,
    signed_shipping,
    status,
)
from app.sidecar.authzen_decisions import Decisions
from app.sidecar.bundle_server import BundleServer
from app.sidecar.clock import Clock
from app.sidecar.config import SidecarConfig
from app.sidecar.control_plane import ControlPlane
from app.sidecar.doubts import Doubts
from app.sidecar.edge import Edge
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.environment import Environment, Expected
from app.sidecar.evidence import Evidence
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.executions import Executions
from app.sidecar.failures import Failures
from app.sidecar.lease import LeaseKeeper
from app.sidecar.lineage import Lineage
from app.sidecar.loop import Loop
from app.sidecar.metadata import Repository, Snapshot
from app.sidecar.metadata_watcher import MetadataWatcher
from app.sidecar.modes import Modes
from app.sidecar.opa_api import OpaApi
from app.sidecar.opa_keeper import OpaKeeper
from app.sidecar.opa_process import OpaProcess
from app.sidecar.pki import SidecarCA
from app.sidecar.record_keeper import RecordKeeper
from app.sidecar.releases import Releases
from app.sidecar.reporting import Reporting
from app.sidecar.rollout import Rollout
from app.sidecar.running import Running
from app.sidecar.shipping import shipping
from app.sidecar.steps import Steps
from app.sidecar.trust_keeper import TrustKeeper

log = logging.getLogger("placet.sidecar")

#: Seconds to go on shipping what is left when the agent ends.
_LAST_SHIPMENT = 5.0


class Agent:
    """One sidecar's agent. `run` returns when `stop` was asked for.

    It writes from the first line on: whoever makes one holds the directory (`SidecarFiles.held`).
    """

    def __init__(
        self,
        config: SidecarConfig,
        trust: TrustConfig,
        opa: Opa,
        root: bytes,
        token: str,
        evidence: Evidence | None = None,
    ) -> None:
        """`root`: the pinned TUF root. `token`: for the control plane's API. `evidence`: of this environment."""
        files = config.files
        self._config = config
        self._trust_config = trust
        library = Library.shipped()
        self._stopping = threading.Event()
        self._clock = Clock(files.private / "clock")
        # A vouch outlives two of its checks, and never a lease.
        ttl = config.lease_ttl
        concerns = {
            # A new connection, its handshake, a question and an answer may each take almost the timeout.
            metadata_watcher.CONCERN: max(ttl, 3 * config.refresh_interval + 4 * metadata.TIMEOUT),
            opa_keeper.CONCERN: max(ttl / 2, 3.0),
            record_keeper.CONCERN: max(ttl / 2, 3.0),
            status.CONCERN: math.inf,  # nobody need say again that this sidecar is admitted
        }
        if config.lineage:
            concerns[signed_shipping.CONCERN] = signed_shipping.VOUCH_HOLDS
            concerns[journal_shipping.CONCERN] = journal_shipping.VOUCH_HOLDS
        self._doubts = Doubts(concerns, self._on_doubt)
        self._failures = Failures()
        ca = SidecarCA.open(files.private / "ca.key", files.ca)
        ca.server_leaf(files.run / "agent.pem", files.run / "agent.key")
        self._server = BundleServer(files.run / "agent.pem", files.run / "agent.key", files.ca)
        self._keeper = OpaKeeper(config, opa, ca, self._server.port, self._doubts, self._on_opa_started)
        repository = Repository(config, root)
        modes = Modes(self._verify_mode)
        self._metadata = MetadataWatcher(config, repository, self._clock, self._doubts, modes, self._on_metadata)
        releases = Releases(config, trust, opa, library)
        self._records = RecordKeeper(config, self._keeper, self._doubts)
        self._plane = ControlPlane(config, token, files.instance())
        self._reporting = Reporting(files, self._plane, self._doubts, self._failures)
        ended = EndedExecutions(lambda: self._trust.room)
        self._lineage = lineage = self._journalled(config.lineage, library, opa, ended) if config.lineage else None
        enforced = files.private / "enforced.json"
        told = [lineage.own.enforced] if lineage else []
        self._rollout = Rollout(releases, repository, self._server, self._keeper, enforced, *told)
        cut = [lineage.cut] if lineage else []
        self._shipping = shipping(
            config, opa.digest, self._id, self._plane, self._doubts, self._free, self._failures,
            lambda: self._shipping_loop.wake(), *cut,
        )  # fmt: skip
        shipping_failed = self._on_concern_failed(signed_shipping.CONCERN) if config.lineage else None
        self._shipping_loop = Loop(
            "shipping", self._shipping.step, shipping_failed or self._on_part_failed(signed_shipping.PART)
        )
        environment = None
        if evidence:
            environment = Environment(evidence.read, self._plane.attest, self._expected, self._on_doubt)
        self._keys = keys = ExecutionKeys(files.execution_keys)
        journal = lineage.executions if lineage else None
        self._running = running = Running(files.running, ended, keys.renew, journal)
        self._trust = TrustKeeper(
            files.states, config.name, keys, modes, environment, ended.named, ended.blocked, running
        )
        self._lease = LeaseKeeper(
            config, self._clock, self._doubts, self._api, lambda: self._metadata.known, self._trust,
            lineage.own if lineage else None,
        )  # fmt: skip
        self._lease_loop = Loop("lease", self._lease.step, self._on_part_failed("lease"), retry=0.2)
        executions = Executions(keys, self._api, self._trust_held, self._plane.redeem, running, journal)
        decisions, holds = Decisions(self._api), lambda: self._trust_held() is not None
        steps = Steps(executions, journal)
        self._edge = Edge(config, ca, executions, decisions, holds, steps) if config.edge_port else None
        self._parts = status.Parts(
            config, opa, library, self._lease, self._metadata, self._rollout, self._keeper, self._records,
            self._shipping, self._trust, modes, environment, lineage,
        )  # fmt: skip
        self._loops = [
            Loop("metadata", self._metadata.step, self._on_concern_failed(metadata_watcher.CONCERN)),
            Loop("opa", self._keeper.step, self._on_concern_failed(opa_keeper.CONCERN), retry=0.2),
            Loop("records", self._records.step, self._on_concern_failed(record_keeper.CONCERN), retry=0.2),
            Loop("rollout", self._rollout.step, self._on_part_failed("rollout")),
            self._shipping_loop,
            Loop("status", self._report, self._on_part_failed("status")),
            self._lease_loop,
        ]
        if lineage:
            self._journal_loop = Loop("journal", lineage.step, self._on_concern_failed(journal_shipping.CONCERN))
            self._loops.append(self._journal_loop)
        if environment:
            self._loops.append(Loop("environment", environment.step, self._on_part_failed("environment")))

    def stop(self) -> None:
        """Ask the agent to end."""
        self._stopping.set()

    def run(self) -> None:
        """Govern OPA until `stop`. Raises `PlacetError` when it cannot begin."""
        orphan = opa_process.end_orphan(self._config)
        if orphan:
            log.warning("ended process %d, the OPA of an earlier agent", orphan)
        opa_process.require_free_port(self._config.port, patience=5.0 if orphan else 0.0)
        shipper.tidy(self._config.files.records)
        if self._lineage:
            self._lineage.open()
        self._shipping.open()
        self._reporting.open()
        for path in self._config.files.records.glob("*.log"):
            reserve.release(path)  # now that nobody writes them any more
        self._keys.open()
        self._running.open()
        if self._edge:
            self._edge.start()
        self._metadata.start_from_cache()
        self._server.start()
        for loop in self._loops:
            loop.start()
        try:
            self._stopping.wait()
        finally:
            self._end()

    def _end(self) -> None:
        log.info("ending: the lease is withdrawn and OPA stopped")
        if self._edge:
            self._edge.stop()
        for loop in self._loops:
            loop.stop()
        with contextlib.suppress(PlacetError):  # OPA may be gone already; without a renewal its lease ends anyway
            self._lease.withdraw()
        self._keeper.shut_down()
        self._server.stop()
        try:
            self._shipping.finish(_LAST_SHIPMENT)
            if self._lineage:
                self._lineage.finish(_LAST_SHIPMENT)
            self._report()
        except PlacetError as error:
            log.warning("some records wait for the next start: %s", error)

    # What the parts tell each other.

    def _on_metadata(self, snapshot: Snapshot) -> None:
        self._rollout.wanted = snapshot.pointer
        self._lease_loop.wake()

    def _on_opa_started(self, process: OpaProcess) -> None:
        self._records.follow(process)
        self._lease_loop.wake()

    def _on_doubt(self) -> None:
        self._lease_loop.wake()

    def _on_concern_failed(self, concern: str) -> Any:
        def failed(reason: Reason, detail: str) -> None:
            self._doubts.doubt(concern, reason, detail)

        return failed

    def _on_part_failed(self, part: str) -> Any:
        return lambda reason, detail: self._failures.tell(part, f"{reason}: {detail}")

    def _verify_mode(self, evidence: Sequence[str], audience: str) -> Mode:
        now = datetime.now(UTC)
        policy, trust = self._config.policy, self._trust_config
        return verify_mode(evidence, policy=policy, trust=trust, audience=audience, now=now)

    def _journalled(self, trust: TrustConfig, library: Library, opa: Opa, ended: EndedExecutions) -> Lineage:
        return Lineage(
            self._config, trust, library, opa, self._id, self._plane, self._doubts, self._failures,
            ended=ended, deny=lambda: self._lease_loop.wake(),
            state=lambda: state.digest if (state := self._lease.held()) else None,
            wake=lambda: self._journal_loop.wake(),
            declared=lambda: known.snapshot.governance.workflows if (known := self._metadata.known) else None,
        )  # fmt: skip

    def _id(self) -> str | None:
        """The sidecar's SPIFFE ID, once metadata has said in which domain it is."""
        if (known := self._metadata.known) is None:
            return None
        snapshot = known.snapshot
        return sidecar_id(snapshot.state.domain, snapshot.governance.system, self._config.name)

    def _expected(self) -> Expected | None:
        known, name = self._metadata.known, self._id()
        return Expected(name, known.snapshot.governance.audience) if known and name else None

    def _trust_held(self) -> dict[str, Any] | None:
        state = self._lease.held()
        return state.trust if state else None

    def _api(self) -> OpaApi | None:
        process = self._keeper.process
        return process.api if process is not None else None

    # Shipping and reporting.

    def _free(self, path: Path, acknowledged: int) -> None:
        tallied = self._records.tally()
        if tallied and tallied[0] == path:
            acknowledged = min(acknowledged, tallied[1].end)  # what was shipped may not have been counted yet
        reserve.free(path, acknowledged)

    def _report(self) -> float:
        return self._reporting.step(self._parts)
