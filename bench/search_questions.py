"""What reviewers ask of millions of decisions, by the three aims; each time with other values where there are any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session

from app.control import search, summary
from app.control.decision_filter import Filter, Place
from app.control.plane import Plane
from bench.many_records import (
    ACTIONS,
    CURRENCIES,
    FREQUENT_WORD,
    RARE_ACTION,
    RARE_CURRENCY,
    RARE_POLICY,
    RARE_REASON,
    RARE_WORD,
    REASONS,
    SECOND,
    TYPES,
    WEEK,
    Many,
)

FILTERS, SUMMARIES, CONTENT, OTHER = "indexed filters", "histogram and facets", "one word or path", "other"
#: Seconds that a page may take: more than any does, so that what is measured is the whole answer.
_PATIENCE = 60.0
_PAGE = 50


@dataclass(frozen=True)
class Question:
    """One that is asked many times; `ask` gets the number of the time."""

    kind: str
    name: str
    ask: Callable[[Session, int], Any]


class Questions:
    """Those of a store in which so many records are."""

    def __init__(self, plane: Plane, many: Many, records: int) -> None:
        self._plane, self._many, self._records = plane, many, records
        self._last = many.moment(records // many.size - 1) + SECOND

    def all(self) -> Iterator[Question]:
        """All of them."""
        yield from (self._page(FILTERS, name, how) for name, how in self._filters().items())
        yield from (self._page(CONTENT, name, how) for name, how in self._content().items())
        yield from self._summaries()
        yield self._page(OTHER, "first 200 rows of an export of denials", lambda n: {"outcome": "deny"}, 200)
        yield self._page(
            OTHER, "two words and a column", lambda n: {"text": f"{FREQUENT_WORD} order v{n}", "action": ACTIONS[n % 9]}
        )

    def _page(self, kind: str, name: str, how: Callable[[int], dict[str, Any]], limit: int = _PAGE) -> Question:
        def ask(session: Session, number: int) -> search.Page:
            asked = how(number)
            place: Place | None = asked.pop("after", None)
            cursor = place.cursor() if place else None
            return search.search(session, self._plane.objects, Filter(**asked), limit, cursor, _PATIENCE)

        return Question(kind, name, ask)

    def _at(self, number: int) -> int:
        """Some time in the store, each time another."""
        return self._many.begin_ns + (self._last - self._many.begin_ns) * (number * 37 % 101) // 101

    def _span(self, begin_ns: int, length: timedelta) -> dict[str, datetime]:
        begin = self._moment(begin_ns)
        return {"since": begin, "until": begin + length}

    def _moment(self, time_ns: int) -> datetime:
        return datetime.fromtimestamp(time_ns // SECOND, UTC)

    def _filters(self) -> dict[str, Callable[[int], dict[str, Any]]]:
        old = self._many.policy(0)
        return {
            "newest": lambda n: {},
            "system": lambda n: {"system": "payments"},
            "system that few batches are of": lambda n: {"system": "ledger"},
            "denials": lambda n: {"outcome": "deny"},
            "denials of a system": lambda n: {"system": "payments", "outcome": "deny"},
            "mode, one in 100": lambda n: {"mode": "shadow"},
            "mode, one in 10,000": lambda n: {"mode": "break-glass"},
            "subject, one in 50": lambda n: {"subject_id": f"spiffe://example.org/job-{n % 10}"},
            "subject, one in 50,000": lambda n: {"subject_id": f"spiffe://example.org/job-{100 + 7 * n}"},
            "subject, none": lambda n: {"subject_id": f"spiffe://example.org/nobody-{n}"},
            "resource, one in 500": lambda n: {"resource_id": f"r-{n}"},
            "resource, one in 500,000": lambda n: {"resource_id": f"r-{1000 + 7 * n}"},
            "execution": lambda n: {"execution": f"run-{n * 5}"},
            "sidecar": lambda n: {"sidecar": "two"},
            "action, one in 4": lambda n: {"action": ACTIONS[0]},
            "action, one in 170": lambda n: {"action": ACTIONS[-1]},
            "action, one in 50,000": lambda n: {"action": RARE_ACTION},
            "action, none": lambda n: {"action": f"nothing.{n}"},
            "resource type": lambda n: {"resource_type": TYPES[n % len(TYPES)]},
            "reason, one in 20": lambda n: {"reason": REASONS[0]},
            "reason, one in 50,000": lambda n: {"reason": RARE_REASON},
            "reason, none": lambda n: {"reason": f"nothing.{n}"},
            "bundle, of the beginning": lambda n: {"policy": old},
            "bundle, one in 50,000": lambda n: {"policy": RARE_POLICY},
            "time, an hour": lambda n: self._span(self._at(n), timedelta(hours=1)),
            "a system before a time": lambda n: {"system": "payments", "until": self._moment(self._at(n))},
            "a page far behind": lambda n: {"system": "payments", "after": Place(self._at(n))},
            "a page of denials far behind": lambda n: {
                "system": "payments", "outcome": "deny", "after": Place(self._at(n)),
            },
            "subject, action and outcome": lambda n: {
                "subject_id": f"spiffe://example.org/job-{n % 10}", "action": ACTIONS[3], "outcome": "deny",
            },
            "action and reason": lambda n: {"action": ACTIONS[n % 10], "reason": REASONS[2]},
            "action, one in 50,000, in a week": lambda n: {
                "action": RARE_ACTION, **self._span(self._at(n), timedelta(days=7)),
            },
        }  # fmt: skip

    def _content(self) -> dict[str, Callable[[int], dict[str, Any]]]:
        size = self._many.size
        rare = [batch * size + size // 2 for batch in range(self._records // size) if self._many.is_rare(batch)]
        return {
            "word, one in 5": lambda n: {"text": FREQUENT_WORD},
            "word, one in 10,000": lambda n: {"text": f"v{9000 + 7 * n}"},
            "word, one record": lambda n: {"text": f"{RARE_WORD}{rare[n % len(rare)]}"},
            "word, none": lambda n: {"text": f"nothing{n}"},
            "path, one in 4": lambda n: {"where": (("input.context.currency", CURRENCIES[1]),)},
            "path, one in 50,000": lambda n: {"where": (("input.context.currency", RARE_CURRENCY),)},
            "path, in an array": lambda n: {"where": (("input.context.order.lines.sku", f"sku-{15000 + n}"),)},
            "path, none": lambda n: {"where": (("input.context.amount", f"{60_000 + n}"),)},
        }

    def _summaries(self) -> Iterator[Question]:
        end = self._last + SECOND
        week = self._span(max(self._many.begin_ns, end - WEEK), timedelta(days=7))
        whole = self._span(self._many.begin_ns, timedelta(days=28))
        shapes = {
            "a week by hour, a system": ("hour", week, {"system": "payments"}),
            "a week by hour, denials": ("hour", week, {"outcome": "deny"}),
            "four weeks by day": ("day", whole, {}),
            "three hours by minute": ("minute", self._span(end - 3 * 3600 * SECOND, timedelta(hours=3)), {}),
            "a week by hour, a subject, one in 50": ("hour", week, {"subject_id": "spiffe://example.org/job-3"}),
            "a week by hour, an action, one in 4": ("hour", week, {"action": ACTIONS[0]}),
            "a week by hour, a reason": ("hour", week, {"reason": REASONS[1]}),
        }
        for name, (bucket, span, asked) in shapes.items():
            wanted = Filter(**span, **asked)

            def ask(session: Session, _: int, wanted: Filter = wanted, bucket: str = bucket) -> Any:
                return summary.histogram(session, wanted, bucket), summary.facets(
                    session, self._plane.objects, wanted, bucket
                )

            yield Question(SUMMARIES, name, ask)
