# The caller's own token: one JWT, verified with the keys of the trust state. What the input says about its caller
# counts for nothing.
#
# `io.jwt.decode` and the `iss` constraint of `io.jwt.decode_verify` are not used: a token's content can make
# either panic. The header is read by hand instead, and only alg, kid, typ and thumbprints are let through.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.token

import data.placet.clock

# The verified claims and the name of the issuer whose key verified them. Undefined when the token does not hold.
verified := {"issuer": chosen.issuer, "claims": claims} if {
	count(input.identity.token) <= 8192
	key := chosen.key
	key.alg in {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	[true, _, claims] = io.jwt.decode_verify(input.identity.token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": chosen.audience,
		"time": clock.now,
	})
	issuer_of(claims) == chosen.issuer
	is_string(claims.sub)
	claims.sub != ""

	# The builtin checks `exp` only where there is one. Beyond 9999-12-31T23:59:59Z RFC 3339 cannot write it.
	is_number(claims.exp)
	claims.exp <= 253402300799
	is_number(object.get(claims, "iat", 0))
}

# The reason codes of what failed, none when the token verified.
default failures := ["identity.invalid"]

failures := [] if {
	verified
} else := [unusable] if {
	unusable
} else := explained if {
	order := ["identity.audience", "identity.expired", "identity.not_yet_valid", "identity.claims"]
	explained := [code | some code in order; code in wrong]
	explained != []
} else := ["identity.claims"] if {
	signed
}

# The key that the token must verify with, and what it must then say. Nothing of the token is known to be true yet:
# it only chooses. Trust state lists how the headers of its keys are usually written, each with the one key that it
# can mean, so that the usual token of an issuer with one audience need not be taken apart.
chosen := {"issuer": usual.issuer, "key": key, "audience": audience} if {
	[head, _, _] := split(input.identity.token, ".")
	usual := data.placet_state.trust.headers[head]
	issuer := data.placet_state.trust.issuers[usual.issuer]
	[audience] := issuer.audiences
	audience != ""
	key := issuer.keys[usual.kid]

	# A cached verification does not look at `alg` again: a token that verified once would pass under another.
	key.alg == usual.alg
} else := {"issuer": issuer_of(unverified), "key": key, "audience": audience(issuer.audiences, unverified.aud)} if {
	key := issuer.keys[header.kid]
	key.alg == header.alg
}

# The issuer of these claims: their `iss`. A JWT-SVID needs none: its subject's trust domain has its keys, whoever
# says to have issued it. Undefined when trust state has no such issuer.
issuer_of(claims) := claims.iss if {
	data.placet_state.trust.issuers[claims.iss]
} else := name if {
	is_string(object.get(claims, "iss", ""))
	["spiffe:", "", domain] = array.slice(split(claims.sub, "/"), 0, 3)
	name := concat("", ["spiffe://", domain])
	data.placet_state.trust.issuers[name].kind == "spiffe"
}

# The issuer's audience that the token names, or the first one that its list names.
audience(accepted, named) := named if {
	named in accepted
	named != ""
} else := [one |
	is_array(named)
	some one in named
	one in accepted
	one != ""
][0]

# A set is what no JSON document holds, so any value at all counts as there.
given if object.get(input, ["identity", "token"], set()) != set()

# Says why a token cannot even be checked.
unusable := "identity.missing" if {
	not given
} else := "identity.malformed" if {
	not unverified
} else := "identity.issuer_unknown" if {
	not issuer
} else := "identity.key_unknown" if {
	not issuer.keys[header.kid]
} else := "identity.algorithm" if {
	not issuer.keys[header.kid].alg == header.alg
}

# What is wrong with a token that was checked and did not hold, as far as its unverified claims tell: this can only
# explain a denial.
wrong contains "identity.audience" if {
	not audience(issuer.audiences, object.get(unverified, "aud", null))
}

wrong contains "identity.expired" if {
	is_number(unverified.exp)
	unverified.exp <= clock.now / 1000000000
}

wrong contains "identity.not_yet_valid" if {
	is_number(unverified.nbf)
	unverified.nbf > clock.now / 1000000000
}

# The builtin cannot read these.
wrong contains "identity.claims" if {
	some claim in ["exp", "nbf"]
	not is_number(object.get(unverified, claim, 0))
}

# What a token may say that it is. Warrants, proofs, results and execution tokens are no identities.
types := {"jwt", "jose", "at+jwt", "application/at+jwt"}

header := decoded if {
	count(input.identity.token) <= 8192
	segments := split(input.identity.token, ".")
	count(segments) == 3
	decoded := json.unmarshal(base64url.decode(segments[0]))

	# Issuers name their certificate beside the key (x5t); nothing reads it. What else is there could change the meaning.
	object.remove(decoded, ["alg", "kid", "typ", "x5t", "x5t#S256"]) == {}

	# `concat` is defined for strings alone.
	concat("", [decoded.alg, decoded.kid, object.get(decoded, "x5t", ""), object.get(decoded, "x5t#S256", "")])
	lower(object.get(decoded, "typ", "JWT")) in types
}

unverified := decoded if {
	header
	decoded := json.unmarshal(base64url.decode(split(input.identity.token, ".")[1]))
	is_object(decoded)
}

issuer := data.placet_state.trust.issuers[issuer_of(unverified)]

signed if {
	io.jwt.decode_verify(input.identity.token, {
		"cert": chosen.key.jwks,
		"alg": chosen.key.alg,
		"aud": chosen.audience,
		"time": clock.now,
	})[0]
}
