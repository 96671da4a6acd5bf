"""The `placet` command, one module a noun. Commands are thin: they call the core or the control plane's API."""
