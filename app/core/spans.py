"""The units in which people write spans of time, in seconds."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
