"""Check everything that is stored of records against what sidecars signed, and name each place that was changed.

It reads the database and the object store, and writes to neither. `check` does all of it.
"""

from app.control.fsck.finding import Finding
from app.control.fsck.kept import proved_by, said_by
from app.control.fsck.log import Log
from app.control.fsck.run import Found, Progress, Report, Scope, check
from app.control.fsck.workers import Means

__all__ = ["Finding", "Found", "Log", "Means", "Progress", "Report", "Scope", "check", "proved_by", "said_by"]
