"""The rows of the demo's table. Each shows one promise by its outcome: it returns what was seen, or raises `NotSo`.

Rows run in order on one stack and leave it as they found it.
"""

from app.local.demo.rows import agents, decisions, faults, log, modes, proofs, records, releases
from app.local.demo.rows.table import Titled, World, rows_of

ROWS: list[Titled] = [
    row for module in (releases, decisions, proofs, log, agents, modes, faults, records) for row in rows_of(module)
]

__all__ = ["ROWS", "Titled", "World"]
