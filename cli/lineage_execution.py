"""`placet lineage show` and `placet lineage graph`: what happened in an execution, and what that rests on."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.errors import PlacetError, UsageError
from cli import client
from cli.api_path import api
from cli.output import Output, OutputOption, emit, say

EXECUTIONS_EPILOG = "Example: placet lineage executions --system payments"
SHOW_EPILOG = "Example: placet lineage show 018f3c5e7a2b4c6d8e --output json"
GRAPH_EPILOG = "Example: placet lineage graph 018f3c5e7a2b4c6d8e --format dot > execution.dot"

ExecutionArgument = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.", show_default=False)]
SystemOption = Annotated[
    str | None, typer.Option(help="Its system, where the id stands in several.", show_default=False)
]
SidecarOption = Annotated[str | None, typer.Option(help="Its sidecar, likewise.", show_default=False)]
InstanceOption = Annotated[str | None, typer.Option(help="The sidecar's instance, likewise.", show_default=False)]
DepthOption = Annotated[
    int, typer.Option(min=0, max=8, help="How far executions are followed that took what others made.")
]
FromLogOption = Annotated[
    bool, typer.Option("--from-log", help="Rebuild it from object storage and the log; no control plane is asked.")
]
ObjectsOption = Annotated[
    str | None,
    typer.Option("--objects", metavar="URL_OR_DIR", help="With --from-log: the object store.", show_default=False),
]
LineageTrustOption = Annotated[
    Path | None,
    typer.Option(
        "--lineage-trust-config",
        help="With --from-log: the Sigstore that vouches for sidecars (ClientTrustConfig).",
        show_default=False,
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust-config",
        help="With --from-log: the Sigstore that vouches for releases and approvals. Default: the same.",
        show_default=False,
    ),
]
DomainOption = Annotated[
    str | None,
    typer.Option(help="With --from-log: the sidecars' trust domain, as of `placet server init`.", show_default=False),
]
IssuerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--identity-issuer",
        metavar="URL",
        help="With --from-log: who issues the sidecars' identities, as of `placet server run`; repeat it for former "
        "ones.",
        show_default=False,
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="URL_OR_DIR",
        help="With --from-log: the log's tiles, in which each entry must be. Default: the evidence's own proofs.",
        show_default=False,
    ),
]

_LISTED = ["execution", "system", "sidecar", "started_at", "ended_at", "outcome", "reason"]


class Form(StrEnum):
    """The forms of a graph."""

    DOT = "dot"
    JSON = "json"


def executions(
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List executions of which a sidecar stated the start, those that came last first."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/executions", system=system, limit=limit)
    emit(found["items"], output, columns=_LISTED)
    if found["next"] is not None:
        say(f"there are more than the newest {limit}")


def show(
    execution: ExecutionArgument,
    system: SystemOption = None,
    sidecar: SidecarOption = None,
    instance: InstanceOption = None,
    depth: DepthOption = 1,
    from_log: FromLogOption = False,
    objects: ObjectsOption = None,
    lineage_trust_config: LineageTrustOption = None,
    trust_config: TrustOption = None,
    domain: DomainOption = None,
    identity_issuer: IssuerOption = None,
    log: LogOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell an execution's story in order: its policy, warrants, decisions, steps, what changed meanwhile, its end."""
    place = (system, sidecar, instance)
    archive = (objects, lineage_trust_config, trust_config, domain, identity_issuer, log)
    document = _document(execution, place, depth, from_log, archive, server, token_file)
    if output is Output.JSON:
        emit(document, output)
        return
    emit({name: value for name, value in document["execution"].items() if value is not None}, output)
    emit([_row(one) for one in document["story"]], output, columns=["at", "what", "detail"])
    if document["executions"]:
        emit(document["executions"], output, columns=["id", "system", "sidecar", "outcome", "steps"])
    if document["left_out"]:
        say(f"there are more {', '.join(document['left_out'])} than are shown")


def graph(
    execution: ExecutionArgument,
    form: Annotated[Form, typer.Option("--format", help="dot is Graphviz' language.")] = Form.DOT,
    system: SystemOption = None,
    sidecar: SidecarOption = None,
    instance: InstanceOption = None,
    depth: DepthOption = 1,
    from_log: FromLogOption = False,
    objects: ObjectsOption = None,
    lineage_trust_config: LineageTrustOption = None,
    trust_config: TrustOption = None,
    domain: DomainOption = None,
    identity_issuer: IssuerOption = None,
    log: LogOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
) -> None:
    """Print what an execution was made of and what came of it, joined by digests, also with other executions."""
    from app.core.graph_dot import dot

    place = (system, sidecar, instance)
    archive = (objects, lineage_trust_config, trust_config, domain, identity_issuer, log)
    document = _document(execution, place, depth, from_log, archive, server, token_file)
    if form is Form.DOT:
        sys.stdout.write(dot(document))
        return
    names = ("format", "execution", "nodes", "edges", "left_out")
    emit({name: document[name] for name in names}, Output.JSON)


def _document(
    execution: str,
    place: tuple[str | None, str | None, str | None],
    depth: int,
    from_log: bool,
    archive: tuple[str | None, Path | None, Path | None, str | None, list[str] | None, str | None],
    server: str | None,
    token_file: Path | None,
) -> dict[str, Any]:
    """The lineage, from a control plane or from an archive."""
    if not from_log:
        if any(archive):
            raise UsageError("--objects, --log and the options of trust belong to --from-log")
        system, sidecar, instance = place
        with client.connect(server, token_file) as plane:
            path = api("executions", execution, "lineage")
            found = plane.get(path, system=system, sidecar=sidecar, instance=instance, depth=depth)
        if not isinstance(found, dict) or not {"execution", "story", "nodes", "edges"} <= set(found):
            raise PlacetError("the control plane did not answer with an execution's lineage; is --server right?")
        return found
    objects, lineage, trust, domain, issuers, log = archive
    if objects is None or lineage is None or domain is None or not issuers:
        raise UsageError(f"--from-log needs {_lacking(objects, lineage, domain, issuers)}")
    from app.control.execution_lineage import Wanted
    from app.core import strict_json
    from app.core.graph import encode
    from cli.lineage_log import Archive, rebuild

    rebuilt = rebuild(Archive(objects, lineage, trust, domain, issuers, log), execution, Wanted(*place), depth)
    return strict_json.load_object(encode(rebuilt))  # as the control plane sends it: the same bytes are printed


def _lacking(objects: str | None, lineage: Path | None, domain: str | None, issuers: list[str] | None) -> str:
    """What is not said of the archive. Nothing is taken for granted: with a wrong guess all would look forged."""
    from app.control.plane import DEFAULT_IDENTITY_ISSUER
    from app.control.settings import DEFAULT_DOMAIN

    given = {
        "--objects (the object store)": objects,
        "--lineage-trust-config (the Sigstore that vouches for sidecars)": lineage,
        f"--domain (the sidecars' trust domain, {DEFAULT_DOMAIN} if `placet server init` was given none)": domain,
        f"--identity-issuer (the control plane's address in sidecars' certificates, {DEFAULT_IDENTITY_ISSUER} if "
        "`placet server run` was given none)": issuers,
    }
    return " and ".join(option for option, value in given.items() if not value)


def _row(entry: dict[str, Any]) -> dict[str, str | None]:
    """An entry of the story in one line."""
    return {"at": entry["at"], "what": entry["what"], "detail": _detail(entry)}


def _detail(entry: dict[str, Any]) -> str:
    what = entry["what"]
    if what in ("release/signed", "warrant/approved"):
        about = entry.get("policy") or f"warrant {entry['warrant']}"
        more = [entry["result"] or "", *entry["commits"]]
        signed = f"by {entry['by']} (of {entry['issuer']})" if entry["by"] else f"does not verify: {entry['problem']}"
        return " ".join(filter(None, [about, entry["predicate_type"], signed, *more]))
    if what == "decision":
        resource = "/".join(filter(None, (entry["resource"].get("type"), entry["resource"].get("id"))))
        said = [entry["outcome"], entry["action"], resource, *entry["reasons"], entry["decision"]]
        return " ".join(filter(None, said))
    if what == "execution/start":
        subject = f"{entry['subject']['id']} (of {entry['subject']['issuer']})"
        resource = f"{entry['resource']['type']}/{entry['resource']['id']}"
        warrants = [f"warrant {one}" for one in entry["warrants"]]
        return " ".join(filter(None, [entry["action"], resource, "by", subject, *warrants, *_unproved(entry)]))
    if what == "execution/step":
        parts = [entry["step"], *(f"took {one}" for one in entry["took"]), *(f"made {one}" for one in entry["made"])]
        facts = [f"{name}={value}" for name, value in sorted(entry["facts"].items())]
        return ", ".join([*parts, *facts, *_unproved(entry)])
    if what == "execution/end":
        return " ".join(filter(None, [entry["outcome"], entry["reason"]]))
    if what.startswith("lineage/"):
        said = [f"break {entry['break']}", entry["kind"], entry["detail"], entry["by"] and f"by {entry['by']}"]
        return " ".join(filter(None, [*said, entry["reason"]]))
    known = ("channel", "sequence", "reason", "detail", "changed")
    return " ".join(_text(entry[name]) for name in known if entry.get(name))


def _unproved(entry: dict[str, Any]) -> list[str]:
    missing = [f"decision {one} is not there as it was named" for one in entry["missing"]]
    return [*missing, *(f"decision {one} was never recorded" for one in entry["unresolved"])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
