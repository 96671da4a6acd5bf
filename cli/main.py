"""The entry point of `placet`: the nouns, and how errors become one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app.core.complaint import printable
from app.core.errors import Denied, PlacetError, UsageError
from cli.denial import told
from cli.usage import complain

#: noun -> (module that holds its Typer `app`, one line of help).
NOUNS: dict[str, tuple[str, str]] = {
    "bundle": ("cli.bundle", "Build, sign, verify and publish policy bundles."),
    "channel": ("cli.channel", "Which release a system's sidecars run, and the way back to an older one."),
    "decision": ("cli.decision", "Search recorded decisions, read them, and make them again."),
    "demo": ("cli.demo", "Run the whole system on this machine and show that it holds."),
    "domain": ("cli.domain", "Trust domains that are linked with this one."),
    "environment": ("cli.environment", "Attestation results about sidecars."),
    "execution": ("cli.execution", "Start governed executions at a sidecar, note their steps, end them."),
    "forward": ("cli.forward", "Sinks to which records are forwarded."),
    "governance": ("cli.governance", "What holds for a system: warrants, environment, segments, approval."),
    "grant": ("cli.grant", "Let a subject speak for others."),
    "hold": ("cli.hold", "Legal holds: records that nobody may erase."),
    "issuer": ("cli.issuer", "Trust issuers of workload identities."),
    "layout": ("cli.layout", "Which steps lead to a release, and who may do each."),
    "lineage": ("cli.lineage", "What executions came from, breaks of sidecars' histories, and the log."),
    "mode": ("cli.mode", "Shadow and break-glass: signed, limited in time, shown everywhere."),
    "policy": ("cli.policy", "Write a policy, check it, test it, ask it."),
    "proof": ("cli.proof", "One file that proves one decision or execution, without a server."),
    "quarantine": ("cli.quarantine", "Deny a subject, an execution, a segment or a domain everywhere."),
    "record": ("cli.record", "Erase records, and see what was erased."),
    "retention": ("cli.retention", "How long the records of a system are kept."),
    "search": ("cli.search", "Searches of decisions under a name."),
    "server": ("cli.server", "Set up and run the control plane."),
    "sidecar": ("cli.sidecar", "Run OPA under governance beside a service."),
    "sigstore": ("cli.sigstore", "Run a local Sigstore, for development."),
    "step": ("cli.step", "Do a step of a release pipeline, recorded in a signed link."),
    "system": ("cli.system", "Systems: sets of OPAs that take the same policy."),
    "token": ("cli.token", "API tokens of the control plane."),
    "tools": ("cli.tools", "Build the pinned OPA and Sigstore servers."),
    "warrant": ("cli.warrant", "Warrants: who may do what, on what, until when."),
}

_INTERRUPTED = "interrupted; what was under way may or may not have happened, and is safe to repeat"


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command tree. Only the noun that `arguments` name is imported, so that `--help` answers at once."""
    root = typer.Typer(
        name="placet",
        help="Governed execution on Open Policy Agent: nothing runs without a placet.",
        epilog="Start with: placet demo run  ·  exit codes: 0 done, 1 failed, 2 wrong usage, 3 denied",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its tables cut the names of long options in a terminal of 80 columns
    )
    root.callback()(_root)
    completing = "_PLACET_COMPLETE" in os.environ
    used = next((word for word in arguments if not word.startswith("-")), None)
    for noun, (module, text) in NOUNS.items():
        wanted = completing or noun == used
        group = importlib.import_module(module).app if wanted else typer.Typer()
        root.add_typer(group, name=noun, help=text, no_args_is_help=True)
    return root


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        sys.stdout.write(f"placet {metadata.version('placet')}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Governed execution on Open Policy Agent: nothing runs without a placet."""


def main() -> None:
    """Run `placet`. Every error that a person can cause ends in one line on stderr."""
    if sys.argv[1:2] == ["bundle"]:
        gc.set_threshold(50_000)  # half a second of imports makes no garbage, and is looked through again and again
    try:
        _require_texts(sys.argv[1:])
        ended = _run(sys.argv[1:])
    except Denied as denied:
        _say(f"denied: {told(denied)}")
        sys.exit(denied.exit_code)
    except PlacetError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say(_INTERRUPTED)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PLACET_DEBUG"):
            raise
        _say(f"internal error: {type(error).__name__}: {error} (PLACET_DEBUG=1 shows where)")
        sys.exit(1)
    if ended == 130:  # Typer makes this of a KeyboardInterrupt, without a word
        _say(_INTERRUPTED)
    sys.exit(ended)


def _run(arguments: Sequence[str]) -> int:
    """The exit code, unless an error tells it."""
    root = build(arguments)
    try:
        ended = root(prog_name="placet", standalone_mode=False)
    except typer.TyperException as error:
        if text := complain(error, root, arguments):
            _say(text)
        return error.exit_code
    return ended if isinstance(ended, int) else 0  # None where a command came to its end


def _require_texts(arguments: Sequence[str]) -> None:
    """Raise `UsageError` for an option that is given an empty text, as by a variable that is not set.

    It would mean what leaving it out means: all systems, or whoever did it.
    """
    own = itertools.takewhile(lambda word: word != "--", arguments)  # what follows is another command's
    for option, value in itertools.pairwise([*own, "-"]):
        name, equals, rest = option.partition("=")
        if name.startswith("-") and (value if not equals else rest) == "":
            raise UsageError(f"{name} is given an empty text: say what it is to be, or leave it out")


def _say(text: str) -> None:
    sys.stderr.write(f"placet: {printable(text)}\n")
