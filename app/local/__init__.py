"""What runs on one machine for development and the demo: tool builds, the local Sigstore stack, the demo."""
