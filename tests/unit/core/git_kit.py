"""Git as the tests run it: nobody's settings, and somebody's name."""

import os
import subprocess

SETTINGS = {
    "user.name": "a", "user.email": "a@example.org", "commit.gpgsign": "false", "protocol.file.allow": "always",
}  # fmt: skip


def git(directory, *arguments):
    """What git says in a directory."""
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=directory, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
