"""Somebody with a home of his own, in which he runs commands."""

import os
import subprocess
from unittest import mock

from .control_kit import PLACET


class Person:
    """Has no setting but those that lie in his home, or that a test puts into `variables`."""

    def __init__(self, home):
        home.mkdir()
        self.home = home
        self.variables = {}

    @property
    def environment(self):
        own = {"HOME": str(self.home), "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        return {**own, **self.variables}

    def here(self):
        """While it lasts, this process has his settings."""
        return mock.patch.dict(os.environ, self.environment, clear=True)

    def run(self, *command, expect=0, stdin="", cwd=None):
        done = subprocess.run(
            [*map(str, command)], input=stdin, capture_output=True, text=True, timeout=120, check=False,
            cwd=cwd or self.home, env=self.environment,
        )  # fmt: skip
        assert done.returncode == expect, (command, done.returncode, done.stdout, done.stderr)
        return done

    def placet(self, *arguments, **options):
        return self.run(PLACET, *arguments, **options)
