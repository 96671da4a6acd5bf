"""Sidecars' journals as the object store holds them, where anybody may have added objects that nobody signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.control.fsck.claims import Signers
from app.control.links import Statement, signed_by, statement_of
from app.control.objects import Objects
from app.control.sidecar_statement import Signed, payload_of
from app.core import link as journal
from app.core.errors import Denied
from app.core.execution_evidence import MAX_JOINED, Key, SignedLink
from app.core.governance import sidecar_id
from app.core.link_names import ARTIFACT, PARENT, payload_digest
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

_STEP = "archive"

#: What is left out, in a lineage's own words.
UNREADABLE = "unreadable objects"
UNVERIFIED = "statements that do not verify"

#: (system, sidecar, instance)
Instance = tuple[str, str, str]

#: Checks that a log holds the entry of a Sigstore bundle. Raises `Denied`.
LogCheck = Callable[[bytes], None]


@dataclass(frozen=True)
class Kept:
    """A statement of which nothing is proved yet."""

    #: That hold it, each with a signature of its own.
    objects: list[str]
    says: Statement
    digest: str

    @property
    def instance(self) -> Instance:
        """Whose journal it would be in."""
        _, _, _, _, system, sidecar = self.says.sidecar.split("/")
        return system, sidecar, self.says.instance

    @property
    def key(self) -> Key | None:
        """The execution that it would be of."""
        return None if self.says.execution is None else Key(*self.instance, self.says.execution)


class Journals:
    """Statements by their digests, and in chains. What is given out was verified."""

    def __init__(self, objects: Objects, signers: Signers, in_log: LogCheck, left_out: Callable[[str], None]) -> None:
        """`left_out` is told what is not looked at, since nobody signed it."""
        self._objects, self._signers, self._in_log, self._left_out = objects, signers, in_log, left_out
        self._journals: dict[Instance, dict[str, Kept]] = defaultdict(dict)
        self._by_digest: dict[str, Kept] = {}
        #: Which statements name an artifact, or a link as a parent.
        self._naming: dict[tuple[str, str], list[tuple[Key, str]]] = defaultdict(list)
        self._chains: dict[Instance, list[Kept]] = {}
        self._proofs: dict[str, SignedLink | Denied] = {}

    def add(self, name: str) -> None:
        """Read what an object says."""
        payload = payload_of(self._objects.get(name))
        try:
            one = Kept([name], journal.Link.read(payload), payload_digest(payload))
            _ = one.instance
        except (Denied, ValueError):
            self._left_out(UNREADABLE)
            return
        if (known := self._by_digest.get(one.digest)) is not None:
            known.objects.append(name)
            return
        self._by_digest[one.digest] = self._journals[one.instance][one.digest] = one
        if one.key is not None:
            for ref in (*one.says.subject, *one.says.materials):
                if ref.name.startswith(ARTIFACT):
                    self._naming[ARTIFACT, ref.digest].append((one.key, one.digest))
                elif ref.name == PARENT:
                    self._naming[PARENT, ref.digest].append((one.key, one.digest))

    def executions(self, identifier: str) -> list[Key]:
        """Those of this id: of which something verifies, if that is so of any."""
        named = [one for one in self._by_digest.values() if one.key is not None and one.key.id == identifier]
        proved = {one.key for one in named if one.key is not None and self._is_proved(one)}
        return sorted(proved or {one.key for one in named if one.key is not None})

    def joined(self, prefix: str, digests: Iterable[str]) -> set[Key]:
        """Executions of which links name one of these, each of them by a statement that verifies."""
        found: set[Key] = set()
        for digest in digests:
            here: set[Key] = set()
            for key, statement in sorted(self._naming.get((prefix, digest), ())):
                if len(here) == 2 * MAX_JOINED + 2:
                    break
                if key not in here and self._is_proved(self._by_digest[statement]):
                    here.add(key)
            found |= here
        return found

    def links(self, digests: Iterable[str]) -> list[SignedLink]:
        """The statements of these digests. Raises `Denied`."""
        return [self.give(self._by_digest[one]) for one in sorted(set(digests)) if one in self._by_digest]

    def chain(self, instance: Instance) -> list[Kept]:
        """The journal of an instance, whole: each statement names the one before it. Raises `Denied`.

        The newest that verifies is its end: by the digests that each names, that proves all that are before it.
        """
        if instance in self._chains:
            return self._chains[instance]
        numbered: dict[int, list[Kept]] = defaultdict(list)
        for one in self._journals.get(instance, {}).values():
            numbered[one.says.number].append(one)
        chain: list[Kept] = []
        last = self._last(numbered)
        after: str | None = None
        for number in range(last, -1, -1):
            # What verifies and is not named by the next one is another history of the same sidecar.
            here = numbered[number]
            fitting = [one for one in here if (self._is_proved(one) if number == last else one.digest == after)]
            others = [one for one in here if one not in fitting and self._is_proved(one)]
            if len(fitting) != 1 or others:
                reason = Reason.LINK_FORK if fitting or others else Reason.LINK_GAP
                what = "there are several" if reason == Reason.LINK_FORK else "it is not there"
                raise Denied(reason, f"statement {number} of {'/'.join(instance)}: {what}", step=_STEP)
            if len(here) > 1:
                self._left_out(UNVERIFIED)
            chain.append(fitting[0])
            after = fitting[0].says.previous
        self._chains[instance] = chain[::-1]
        return self._chains[instance]

    def give(self, one: Kept) -> SignedLink:
        """A statement that was verified. Raises `Denied`."""
        proof = self._proof(one)
        if isinstance(proof, Denied):
            raise proof
        return proof

    def _last(self, numbered: dict[int, list[Kept]]) -> int:
        """The newest number of which a statement verifies, -1 where there is none. Raises `Denied` if none does."""
        for number in sorted(numbered, reverse=True):
            if any(self._is_proved(one) for one in numbered[number]):
                return number
            self._left_out(UNVERIFIED)
        for one in numbered[max(numbered, default=-1)]:
            self.give(one)
        return -1

    def _is_proved(self, one: Kept) -> bool:
        return isinstance(self._proof(one), SignedLink)

    def _proof(self, one: Kept) -> SignedLink | Denied:
        """The statement, verified, or why it does not verify. Raises `Denied` for one that the log does not hold."""
        if one.digest not in self._proofs:
            proof: SignedLink | Denied = Denied(Reason.LINK_INVALID, "nobody issues identities to sidecars", step=_STEP)
            for name in one.objects:
                signed = self._signed(one, name)
                if isinstance(signed, Signed):
                    self._in_log(signed.evidence)
                    proof = SignedLink(one.says, one.digest, signed.verified.signed_at, signed.log_index)
                    break
                proof = signed
            self._proofs[one.digest] = proof
        return self._proofs[one.digest]

    def _signed(self, one: Kept, name: str) -> Signed | Denied:
        evidence = self._objects.get(name)
        system, sidecar, _ = one.instance
        identity = sidecar_id(self._signers.domain, system, sidecar)
        refusal = Denied(Reason.LINK_INVALID, "nobody issues identities to sidecars", step=_STEP)
        for issuer in self._signers.issuers:
            try:
                signed = signed_by(SignerIdentity(identity=identity, issuer=issuer), self._signers.verify, evidence)
                if statement_of(signed) != one.says:
                    return Denied(Reason.LINK_INVALID, f"{name} was changed meanwhile", step=_STEP)
            except Denied as denied:
                refusal = denied
            else:
                return signed
        return Denied(refusal.reason, f"{name}: {refusal.detail}", step=_STEP)
