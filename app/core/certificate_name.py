"""Whom a certificate of Fulcio's names, and who vouched for it."""

from __future__ import annotations

from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnrecognizedExtension,
)

from app.core.verification_policy import SignerIdentity

#: The OIDC issuer in a certificate of Fulcio's, as plain text:
#: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


def certified(certificate: Certificate) -> SignerIdentity:
    """Whom a certificate names. Raises all kinds of errors when it is not as Fulcio makes them."""
    [name] = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    issuer = certificate.extensions.get_extension_for_oid(_ISSUER).value
    if not isinstance(issuer, UnrecognizedExtension):
        raise ValueError("the issuer is not as Fulcio writes it")
    return SignerIdentity(identity=str(name.value), issuer=issuer.value.decode())


def only_name(certificate: Certificate) -> str | None:
    """The name of a certificate that has one, of a kind that a pattern is compared with: an e-mail address or a URI."""
    try:
        names = list(certificate.extensions.get_extension_for_class(SubjectAlternativeName).value)
    except (ValueError, ExtensionNotFound):
        return None
    if len(names) != 1 or not isinstance(names[0], RFC822Name | UniformResourceIdentifier):
        return None
    return names[0].value


def shown(certificate: Certificate) -> str:
    """The names and who vouched for them, for people, whatever the certificate is."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        issuer = certificate.extensions.get_extension_for_oid(_ISSUER).value
        by = issuer.value.decode() if isinstance(issuer, UnrecognizedExtension) else "nobody known"
        return f"{', '.join(str(name.value) for name in names) or 'nobody'} (by {by})"
    except (ValueError, LookupError, ExtensionNotFound):
        return "an unreadable certificate"
