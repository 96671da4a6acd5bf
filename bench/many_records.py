"""Records by the million: lines of a governed OPA with much of them changed, each batch made from its number alone.

A batch is of one second, and batches lie at even distances in four weeks. Some values are in a fifth of all records,
some in one of many thousands, and some in one alone.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate

from app.core.bundle import digest_of

SECOND, WEEK = 1_000_000_000, 7 * 24 * 3600 * 1_000_000_000
WEEKS = 4

#: Batches of one moment, each of another sidecar, which overlap.
SIDECARS = ("one", "two", "three", "four")
ACTIONS = [f"{noun}.{verb}" for noun in ("payment", "refund", "account", "ledger", "report", "token", "case", "policy")
           for verb in ("read", "write", "list", "approve", "delete")]  # fmt: skip
TYPES = ["payment", "refund", "account", "ledger", "report", "token", "case", "policy", "invoice", "customer"]
REASONS = ["policy.denied", "warrant.missing", "warrant.constraint", "identity.expired", "warrant.scope",
           "execution.expired", "warrant.revoked", "identity.audience"]  # fmt: skip
CURRENCIES = ["EUR", "USD", "GBP", "CHF", "JPY"]
SUBJECTS, RESOURCES, WORDS, SKUS = 50_000, 400_000, 20_000, 20_000
#: What few records have, and of how many each is one.
RARE = 50_000
RARE_ACTION, RARE_REASON, RARE_WORD, RARE_CURRENCY = "vault.unseal", "warrant.depth", "needle", "XAU"
RARE_POLICY = digest_of(b"canary")
#: Batches that are made; all others are these again, but for those with rare values.
POOL = 500
FREQUENT_WORD = "standing"

#: Weights of the usual: the first of a list is met most.
_BY_RANK = {len(one): list(accumulate(1 / (rank + 1) for rank in range(len(one)))) for one in (ACTIONS, TYPES, REASONS)}
_WORD_WEIGHTS = list(accumulate(1 / (rank + 5) for rank in range(WORDS)))
_MARK = re.compile(rb'"?@(\w+)@"?')


class Many:
    """The batches of a store of `total` records, `size` in each, from `begin_ns` on."""

    def __init__(self, lines: Sequence[bytes], begin_ns: int, total: int, size: int) -> None:
        self.begin_ns, self.total, self.size = begin_ns, total, size
        self.batches = -(-total // size)
        self._templates = [_template(line) for line in lines]

    @property
    def end_ns(self) -> int:
        """When the last one ends."""
        return self.begin_ns + WEEKS * WEEK

    def moment(self, batch: int) -> int:
        """When a batch begins: as many at once as there are sidecars."""
        at = batch // len(SIDECARS) * len(SIDECARS)
        return self.begin_ns + at * WEEKS * WEEK // self.batches + batch % len(SIDECARS) * SECOND // 4

    def place(self, batch: int) -> tuple[str, str]:
        """The system and the sidecar: most are of one system, few of another."""
        system = "ledger" if batch % 50 == 49 else "support" if batch % 10 == 8 else "payments"
        return system, SIDECARS[batch % len(SIDECARS)]

    def is_rare(self, batch: int) -> bool:
        """Whether it has a record with values that few others have."""
        return batch % max(1, RARE // self.size) == 7

    def make(self, batch: int) -> list[bytes]:
        """The entries of a batch."""
        chance = random.Random(batch)
        rare = self.is_rare(batch)
        ids, times = self.ids(batch), self.times(batch)
        policy = self.policy(batch)
        return [
            self._entry(batch * self.size + at, one, _rfc3339(time), policy, chance, rare=rare and at == self.size // 2)
            for at, (one, time) in enumerate(zip(ids, times, strict=True))
        ]

    def ids(self, batch: int) -> list[str]:
        """The decision ids of a batch."""
        chance = random.Random(-batch - 1)
        digits = chance.randbytes(16 * self.size).hex()
        each = (digits[at : at + 32] for at in range(0, len(digits), 32))
        return [f"{one[:8]}-{one[8:12]}-4{one[13:16]}-8{one[17:20]}-{one[20:]}" for one in each]

    def times(self, batch: int) -> list[int]:
        """The times of its records."""
        begin = self.moment(batch)
        return [begin + at * SECOND // self.size for at in range(self.size)]

    def policy(self, batch: int) -> str:
        """The digest of the bundle, one of 34."""
        return digest_of(b"release %d" % (batch % POOL * 34 // POOL))

    def _entry(
        self, number: int, decision: str, time: bytes, policy: str, chance: random.Random, *, rare: bool
    ) -> bytes:
        pick = chance.random
        kind = 0 if (at := pick()) < 0.6 else 1 if at < 0.7 else 2
        words = chance.choices(range(WORDS), cum_weights=_WORD_WEIGHTS, k=3)
        hot = pick() < 0.2
        subject = int(pick() * 10) if hot else int(pick() * SUBJECTS)
        resource = int(pick() * 100) if pick() < 0.2 else int(pick() * RESOURCES)
        allowed = pick() < 0.85 and not rare
        reason = RARE_REASON if rare else REASONS[_ranked(REASONS, chance)]
        special = pick()
        note = f"{RARE_WORD}{number}" if rare else FREQUENT_WORD if hot else "new"
        return self._templates[kind] % {
            b"id": b'"%b"' % decision.encode(),
            b"time": b'"%b"' % time,
            b"action": b'"%b"' % (RARE_ACTION if rare else ACTIONS[_ranked(ACTIONS, chance)]).encode(),
            b"type": b'"%b"' % TYPES[_ranked(TYPES, chance)].encode(),
            b"resource": b'"r-%d"' % resource,
            b"subject": b'"spiffe://example.org/job-%d"' % subject,
            b"amount": b"%d" % int(50_000 * pick() ** 2),
            b"currency": b'"%b"' % (RARE_CURRENCY if rare else CURRENCIES[int(5 * pick() ** 2)]).encode(),
            b"reference": b'"ref-%012x"' % chance.getrandbits(48),
            b"sku": b'"sku-%d"' % int(SKUS * pick() ** 2),
            b"other": b'"sku-%d"' % int(SKUS * pick() ** 2),
            b"note": b'"%b order v%d v%d v%d"' % (note.encode(), *words),
            b"policy": b'"%b"' % (RARE_POLICY if rare else policy).encode(),
            b"allow": b"true" if allowed else b"false",
            b"reasons": b"[]" if allowed else b'[{"code":"%b","message":"The request is denied."}]' % reason.encode(),
            b"mode": b"null" if special > 0.01 else _MODE % (b"break-glass" if special < 0.0001 else b"shadow"),
            b"execution": b'"run-%d"' % (number // 200),
        }


_MODE = b'{"kind":"%b","reasons":[{"code":"policy.denied","message":"The policy denies."}]}'


def _ranked(names: Sequence[str], chance: random.Random) -> int:
    return chance.choices(range(len(names)), cum_weights=_BY_RANK[len(names)])[0]


def _rfc3339(time_ns: int) -> bytes:
    second, rest = divmod(time_ns, SECOND)
    return b"%b.%09dZ" % (_second(second), rest)


@lru_cache(maxsize=8)
def _second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _template(line: bytes) -> bytes:
    """A line with places for what differs."""
    record = json.loads(line)
    record |= {"decision_id": "@id@", "timestamp": "@time@"}
    asked, answer = record["input"], record["result"]
    asked["action"]["name"] = "@action@"
    asked["resource"] = {"id": "@resource@", "type": "@type@"}
    lines = [{"quantity": 1, "sku": "@sku@"}, {"quantity": 2, "sku": "@other@"}]
    asked["context"] = {
        "amount": "@amount@", "currency": "@currency@", "note": "@note@",
        "order": {"channel": "web", "lines": lines, "reference": "@reference@"},
    }  # fmt: skip
    answer |= {"allow": "@allow@", "reasons": "@reasons@", "mode": "@mode@"}
    answer["subject"]["id"], answer["bundles"]["policy"] = "@subject@", "@policy@"
    if answer["execution"] is not None:
        asked["execution"]["id"] = answer["execution"] = "@execution@"
    text = json.dumps(record, separators=(",", ":")).encode().replace(b"%", b"%%")
    return _MARK.sub(rb"%(\1)b", text)
