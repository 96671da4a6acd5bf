"""What takes forwarded records: object stores, Kafka and its like, and OTLP collectors.

A target is a URL that holds no secret. Those stand where the control plane runs, in a JSON file that the variable
PLACET_FORWARD_NAME names (for the sink `siem-eu`: PLACET_FORWARD_SIEM_EU): settings of librdkafka, such as
`sasl.password`, or headers of OTLP requests. Object stores read their own variables (AWS_…), as everywhere here.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from app.control.objects import Objects, is_private
from app.control.problems import Invalid
from app.core.complaint import many
from app.core.errors import PlacetError
from app.core.files import read_bounded

#: Of librdkafka, which would write to stderr past everything.
_log = logging.getLogger("placet.kafka")

#: Seconds that a sink has for one batch.
TIMEOUT = 30.0
#: Records, and bytes of them, of one OTLP request: collectors refuse more than 4 MiB unless told otherwise.
_OTLP_RECORDS, _OTLP_BYTES = 500, 2 * 1024 * 1024
_MAX_SETTINGS = 64 * 1024
_OBJECT_STORES = ("file", "s3", "gs", "az")


@dataclass(frozen=True)
class Record:
    """A decision record, masked as it came, and what its row says of it."""

    decision_id: str
    time_ns: int
    outcome: str
    raw: bytes


@dataclass(frozen=True)
class Delivery:
    """One batch."""

    system: str
    sidecar: str
    instance: str
    file: str
    first: int
    records: Sequence[Record]

    @property
    def key(self) -> str:
        """Its name in an object store; the same one when it is delivered again."""
        return f"{self.system}/{self.sidecar}/{self.instance}/{self.file}/{self.first:020d}.jsonl.gz"


class Failed(PlacetError):
    """The sink did not take a batch; it may at another time."""


class Sink(Protocol):
    """Takes batches."""

    def deliver(self, delivery: Delivery) -> None:
        """Returns when the batch is durable there. Raises `PlacetError`."""

    def close(self) -> None:
        """Let go of connections."""


def check(target: str) -> None:
    """Raises `Invalid` unless the target is one of the forms, without a secret in it."""
    scheme, parts = _parts(target)
    if parts.password or parts.username or parts.query or parts.fragment:
        raise Invalid(f"a target holds no user, password or query; see the variable {variable('NAME')}")
    if scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or ".." in parts.path.split("/"):
            raise Invalid("a file target is an absolute directory, such as file:///var/export/placet")
    elif not parts.hostname:
        raise Invalid("the target names no host or bucket")
    if scheme == "kafka" and len(_topic(parts.path)) == 0:
        raise Invalid("a Kafka target names its topic: kafka://broker:9092/placet-records")


def variable(name: str) -> str:
    """The variable that names the file of a sink's settings."""
    return f"PLACET_FORWARD_{name.upper().replace('-', '_').replace('.', '_')}"


def open_sink(name: str, target: str) -> Sink:
    """The sink of a target. Raises `PlacetError` where its library is missing, or its settings are not usable."""
    check(target)
    scheme, parts = _parts(target)
    if scheme in _OBJECT_STORES:
        return _ObjectStore(target)
    settings = _settings(name)
    if scheme == "kafka":
        return _Kafka(parts.netloc, _topic(parts.path), settings)
    return _Otlp(target.removeprefix("otlp+"), settings)


class _ObjectStore:
    def __init__(self, target: str) -> None:
        self._objects = Objects(target)

    def deliver(self, delivery: Delivery) -> None:
        lines = b"".join(record.raw + b"\n" for record in delivery.records)
        self._objects.put(delivery.key, gzip.compress(lines, 6, mtime=0))

    def close(self) -> None:
        pass


class _Kafka:
    """A message for each record, by its decision's id; done when all in-sync replicas have it."""

    def __init__(self, brokers: str, topic: str, settings: Mapping[str, Any]) -> None:
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError as error:
            raise PlacetError("Kafka needs confluent-kafka: install placet[kafka]") from error
        ours = {
            "bootstrap.servers": brokers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "delivery.timeout.ms": int(TIMEOUT * 1000),
            "socket.timeout.ms": 10_000,
        }
        self._topic = topic
        try:
            self._producer = Producer({**settings, **ours}, logger=_log)
        except (KafkaException, TypeError, ValueError) as error:
            raise PlacetError(f"librdkafka does not take the settings: {_line(error)}") from error

    def deliver(self, delivery: Delivery) -> None:
        from confluent_kafka import KafkaException

        failures: list[str] = []

        def told(error: Any, _: Any) -> None:
            if error is not None:
                failures.append(_line(error))

        headers: dict[str, str | bytes | None] = {"system": delivery.system, "sidecar": delivery.sidecar}
        try:
            for record in delivery.records:
                self._produce(record, headers, told)
            left = self._producer.flush(TIMEOUT)
        except KafkaException as error:
            raise Failed(f"Kafka: {_line(error)}") from error
        if left or failures:
            self._producer.purge()
            said = failures[0] if failures else "no answer in time"
            raise Failed(f"Kafka did not take {many(left or len(failures), 'record')}: {said}")

    def _produce(self, record: Record, headers: dict[str, str | bytes | None], told: Any) -> None:
        from confluent_kafka import KafkaError, KafkaException

        key, milliseconds = record.decision_id.encode("utf-8", "replace"), record.time_ns // 1_000_000
        value = record.raw
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, timestamp=milliseconds, headers=headers, on_delivery=told
                )
            except BufferError:  # the queue is full: it empties, or its messages expire
                self._producer.poll(1.0)
            except KafkaException as error:
                if value is not record.raw or error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                value = _too_large(record)  # else it would hold up all that follow
            else:
                self._producer.poll(0)
                return

    def close(self) -> None:
        self._producer.purge()


def _too_large(record: Record) -> bytes:
    """In the place of a record that is longer than a message may be: that it is there, and its digest."""
    said = {"decision_id": record.decision_id, "too_large": len(record.raw), "sha256": sha256(record.raw).hexdigest()}
    return json.dumps(said).encode()


class _Otlp:
    """A log record for each decision record, over OTLP/HTTP (OpenTelemetry Protocol, section 4.3)."""

    def __init__(self, endpoint: str, settings: Mapping[str, Any]) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http import Compression
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        except ImportError as error:
            raise PlacetError("OTLP needs its exporter: install placet[otlp]") from error
        self._exporter = OTLPLogExporter(
            endpoint, headers={str(name): str(value) for name, value in settings.items()}, timeout=TIMEOUT,
            compression=Compression.Gzip,
        )  # fmt: skip

    def deliver(self, delivery: Delivery) -> None:
        for part in _parts_of(delivery.records):
            self._send(delivery, part)

    def _send(self, delivery: Delivery, records: Sequence[Record]) -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.sdk._logs.export import LogRecordExportResult
        from opentelemetry.sdk.resources import Resource

        about = Resource({"service.name": delivery.system, "service.instance.id": delivery.sidecar})
        batch = [
            ReadableLogRecord(
                LogRecord(
                    timestamp=one.time_ns,
                    severity_number=SeverityNumber.INFO if one.outcome == "allow" else SeverityNumber.WARN,
                    body=one.raw.decode("utf-8", "replace"),
                    attributes={"placet.decision_id": one.decision_id, "placet.outcome": one.outcome},
                    event_name="placet.decision",
                ),
                about,
            )
            for one in records
        ]
        if self._exporter.export(batch) is not LogRecordExportResult.SUCCESS:
            raise Failed("the OTLP collector did not take the records; the log says why")

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _parts_of(records: Sequence[Record]) -> list[list[Record]]:
    parts: list[list[Record]] = []
    size = 0
    for record in records:
        size += len(record.raw)
        if not parts or len(parts[-1]) == _OTLP_RECORDS or size > _OTLP_BYTES:
            parts.append([])
            size = len(record.raw)
        parts[-1].append(record)
    return parts


def _parts(target: str) -> tuple[str, Any]:
    try:
        parts = urlsplit(target)
        _ = parts.port if "," not in parts.netloc else None
    except ValueError as error:
        raise Invalid(f"the target is not a URL: {error}") from error
    known = (*_OBJECT_STORES, "kafka", "otlp+http", "otlp+https")
    if parts.scheme not in known:
        raise Invalid(f"a target is one of {', '.join(f'{name}://…' for name in known)}")
    return parts.scheme, parts


def _topic(path: str) -> str:
    topic = path.removeprefix("/")
    allowed = topic.isascii() and all(one.isalnum() or one in "._-" for one in topic)
    return topic if allowed and len(topic) < 250 else ""


def _settings(name: str) -> dict[str, Any]:
    file = os.environ.get(variable(name))
    if not file:
        return {}
    raw = read_bounded(Path(file), _MAX_SETTINGS, f"the file that {variable(name)} names,")
    if not is_private(Path(file)):
        raise PlacetError(f"others can read {file}; run: chmod 600 {file}")
    try:
        settings = json.loads(raw)
    except ValueError as error:
        raise PlacetError(f"{file} is not JSON") from error
    if not isinstance(settings, dict):
        raise PlacetError(f"{file} is not a JSON object")
    return settings


def _line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
