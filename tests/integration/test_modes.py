"""Shadow and break-glass as sidecars judge them: real signatures, and every way in which one must not count."""

from datetime import UTC, datetime, timedelta

import pytest

from app.core import modes, statements
from app.core.errors import Denied
from app.core.instant import written as moment
from app.core.modes import BreakGlass, Shadow, statement_of, verify_mode
from app.core.reason_codes import Reason
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

pytestmark = pytest.mark.stack

AUDIENCE = "spiffe://example.org/system/payments"
LEAD, OPS, DEV = "lead@example.org", "ops@example.org", "dev@example.org"
NOW = datetime.now(UTC).replace(microsecond=0)
SUBJECT = {"issuer": "https://tokens.example.org", "id": "ops"}
SCOPE = {"subjects": [SUBJECT], "actions": ["refund"], "resources": ["payment/*"]}


@pytest.fixture(scope="module")
def trust(sigstore):
    return TrustConfig.from_file(sigstore.trust_config)


@pytest.fixture(scope="module")
def sign(sigstore, trust):
    sessions = {}

    def signed(statement, who=LEAD):
        if who not in sessions:
            sessions[who] = SigningSession(trust, sigstore.token(who))
        return sessions[who].sign(statement).decode()

    return signed


@pytest.fixture(scope="module")
def policy(sigstore):
    def who(*names):
        return [SignerIdentity(identity=name, issuer=sigstore.issuer_url) for name in names]

    return VerificationPolicy(identities=who(DEV), shadow=who(LEAD), break_glass=who(LEAD, OPS))


@pytest.fixture
def verify(policy, trust):
    def verified(evidence, **changes):
        return verify_mode(evidence, **{"policy": policy, "trust": trust, "audience": AUDIENCE, "now": NOW, **changes})

    return verified


def shadow(**changes):
    members = {"system": AUDIENCE, "id": "s1", "reason": "first week", "from": moment(NOW)}
    return members | {"until": moment(NOW + timedelta(days=7))} | changes


def glass(**changes):
    return shadow(id="g1", reason="incident 12", until=moment(NOW + timedelta(hours=3))) | SCOPE | changes


def written(kind, predicate, audience=AUDIENCE, name=None):
    """A statement as somebody writes it who does not use our own builder."""
    subject = statements.resource(name or audience, modes.subject_of(audience))
    return statements.statement([subject], kind, predicate)


def refuses(verify, evidence, detail, **changes):
    with pytest.raises(Denied) as caught:
        verify(evidence, **changes)
    assert caught.value.reason is Reason.MODE_INVALID
    assert detail in caught.value.detail, caught.value.detail
    assert "\n" not in str(caught.value)


def test_shadow_needs_one_signer(sign, verify):
    mode = verify([sign(statement_of(Shadow.model_validate(shadow())))])
    assert (mode.kind, mode.id, mode.reason, mode.by) == ("shadow", "s1", "first week", [LEAD])
    assert (mode.from_ns, mode.until_ns) == (
        int(NOW.timestamp()) * 10**9,
        int((NOW + timedelta(days=7)).timestamp()) * 10**9,
    )
    assert mode.subjects == mode.actions == mode.resources == ()
    assert modes.predicate_of(mode, AUDIENCE) == shadow()


def test_break_glass_needs_two_different_people_over_the_same_words(sign, verify):
    statement = statement_of(BreakGlass.model_validate(glass()))
    one, other = sign(statement), sign(statement, OPS)
    mode = verify([one, other])
    assert (mode.kind, mode.by, mode.actions, mode.resources) == (
        "break-glass",
        [LEAD, OPS],
        ("refund",),
        ("payment/*",),
    )
    assert [subject.model_dump() for subject in mode.subjects] == [SUBJECT]
    assert modes.predicate_of(mode, AUDIENCE) == glass()
    refuses(verify, [one], "2 different signers")
    refuses(verify, [one, sign(statement)], "2 different signers")
    widened = sign(statement_of(BreakGlass.model_validate(glass(actions=["*"]))), OPS)
    refuses(verify, [one, widened], "different statements")
    refuses(verify, [one, other, sign(statement, DEV)], "signed by dev@example.org")


def test_one_name_under_two_issuers_is_one_person(sign, policy, trust, verify):
    """Two identity providers that both know somebody do not make two people."""
    statement = statement_of(BreakGlass.model_validate(glass()))
    evidence = [sign(statement), sign(statement, OPS)]

    def lying(raw, *, subject, policy, step):
        from app.core.evidence import verify_evidence

        found = verify_evidence(raw, subject=subject, policy=policy, trust=trust, step=step)
        object.__setattr__(found, "signer", SignerIdentity(identity=LEAD.upper(), issuer=f"https://{step}"))
        return found

    with pytest.raises(Denied, match="2 different signers"):
        modes.judge(evidence, policy=policy, verify=lying, audience=AUDIENCE, now=NOW)


def test_who_may_do_the_one_may_not_do_the_other(sign, policy, verify, sigstore):
    ops = [SignerIdentity(identity=OPS, issuer=sigstore.issuer_url)]
    evidence = [sign(statement_of(Shadow.model_validate(shadow())), OPS)]
    refuses(verify, evidence, "may not sign")
    refuses(verify, evidence, "signed by ops@example.org", policy=policy.model_copy(update={"break_glass": []}))
    assert verify(evidence, policy=policy.model_copy(update={"shadow": ops})).by == [OPS]
    # Whoever may sign releases may declare no mode, and nobody may when nobody is listed.
    refuses(verify, [sign(statement_of(Shadow.model_validate(shadow())), DEV)], "signed by dev@example.org")
    nobody = policy.model_copy(update={"shadow": [], "break_glass": []})
    refuses(verify, [sign(statement_of(Shadow.model_validate(shadow())))], "lets nobody", policy=nobody)


def test_it_is_about_one_system(sign, verify):
    evidence = [sign(statement_of(Shadow.model_validate(shadow())))]
    refuses(verify, evidence, "artifact", audience="spiffe://example.org/system/other")
    elsewhere = written(modes.SHADOW, shadow(system="spiffe://example.org/system/other"))
    refuses(verify, [sign(elsewhere)], "not spiffe://example.org/system/payments")


def test_it_is_bounded_in_time(sign, verify):
    evidence = [sign(statement_of(Shadow.model_validate(shadow())))]
    refuses(verify, evidence, "it ended at", now=NOW + timedelta(days=7))
    assert verify(evidence, now=NOW - timedelta(days=1)).begins == NOW, "one to come verifies, and has not begun"
    for predicate, detail in (
        (shadow(until=moment(NOW + timedelta(days=30, seconds=1))), "30 days at most"),
        (shadow(until=moment(NOW)), "ends before it begins"),
        (shadow(**{"from": "2026-01-01T00:00:00+00:00"}), "from: must be a time"),
        (shadow(until="2026-02-30T00:00:00Z"), "until"),
    ):
        refuses(verify, [sign(written(modes.SHADOW, predicate))], detail)
    long = written(modes.BREAK_GLASS, glass(until=moment(NOW + timedelta(hours=4, seconds=1))))
    refuses(verify, [sign(long), sign(long, OPS)], "4 hours at most")
    # Nobody can declare afterwards what would have been allowed.
    past = {"from": moment(NOW - timedelta(hours=2)), "until": moment(NOW - timedelta(hours=1))}
    late = written(modes.SHADOW, shadow(**past))
    refuses(verify, [sign(late)], "signed after its end", now=NOW - timedelta(minutes=90))


@pytest.mark.parametrize(
    ("kind", "predicate", "detail"),
    [
        (modes.SHADOW, shadow(reason=""), "reason"),
        (modes.SHADOW, shadow(reason="  "), "reason"),
        (modes.SHADOW, shadow(reason="a\u202eb"), "reason"),
        (modes.SHADOW, shadow(id="a/b"), "id"),
        (modes.SHADOW, shadow(scope="all"), "scope"),
        (modes.SHADOW, {name: value for name, value in shadow().items() if name != "reason"}, "reason"),
        (modes.SHADOW, glass(), "there is no such member"),
        (modes.BREAK_GLASS, shadow(), "subjects"),
        (modes.BREAK_GLASS, glass(subjects=[]), "subjects"),
        (modes.BREAK_GLASS, glass(actions=["a*b"]), "actions"),
        (modes.BREAK_GLASS, glass(resources="*"), "resources"),
        ("https://slsa.dev/provenance/v1", shadow(), "may not sign"),
    ],
)
def test_another_form_does_not_count(sign, verify, kind, predicate, detail):
    statement = written(kind, predicate)
    refuses(verify, [sign(statement), sign(statement, OPS)] if kind == modes.BREAK_GLASS else [sign(statement)], detail)


def test_what_is_no_evidence_does_not_count(sign, verify):
    good = sign(statement_of(Shadow.model_validate(shadow())))
    refuses(verify, [], "1 to 4 pieces")
    refuses(verify, [good] * 5, "1 to 4 pieces")
    for evidence in ("", "{}", "null", "\ud83d", good[:-1], good.replace('"payload":"e', '"payload":"f')):
        refuses(verify, [evidence], "")


def test_the_second_signer_signs_what_the_first_did(sign):
    statement = statement_of(BreakGlass.model_validate(glass()))
    assert statement_of(modes.read_declaration(sign(statement))) == statement
    for other in (written(modes.SHADOW, shadow(), name="another name"), written("https://x.example", shadow())):
        with pytest.raises(Denied, match=r"mode\.invalid"):
            modes.read_declaration(sign(other))
    for nonsense in ("", "{}", '{"dsseEnvelope": {"payload": "e30="}}', '{"dsseEnvelope": 7}'):
        with pytest.raises(Denied, match="no declaration"):
            modes.read_declaration(nonsense)
