"""Pure logic shared by the command line, the control plane and the sidecar. No web frameworks, no database."""
