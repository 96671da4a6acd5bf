"""How this machine is named to itself."""

NAMES = frozenset({"127.0.0.1", "::1", "localhost"})
