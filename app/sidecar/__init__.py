"""The agent beside OPA: it verifies what OPA loads, renews the lease and keeps the records."""
