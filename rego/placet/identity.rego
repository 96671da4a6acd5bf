# Who asks: one JWT, verified with the keys of the trust state. What the input says about its caller counts for
# nothing.
#
# `io.jwt.decode` and the `iss` constraint of `io.jwt.decode_verify` are not used: a token's content can make
# either panic. The header is read by hand instead, and only its members alg, kid and typ are let through.
package placet.identity

import data.placet.clock

# The verified subject: its name, who vouches for it, and every verified claim. Undefined when there is none.
subject := {"id": claims.sub, "issuer": claims.iss, "claims": claims} if {
	count(input.identity) == 1
	count(input.identity.token) <= 8192
	key := chosen.key
	key.alg in {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	[true, _, claims] = io.jwt.decode_verify(input.identity.token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": chosen.audience,
		"time": clock.now,
	})
	claims.iss == chosen.issuer
	is_string(claims.iss)
	is_string(claims.sub)
	claims.sub != ""

	# The builtin checks `exp` only where there is one. Beyond 9999-12-31T23:59:59Z RFC 3339 cannot write it.
	is_number(claims.exp)
	claims.exp <= 253402300799
	is_number(object.get(claims, "iat", 0))
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
} else := {"issuer": unverified.iss, "key": key, "audience": audience(issuer.audiences, unverified.aud)} if {
	key := issuer.keys[header.kid]
	key.alg == header.alg
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

# The reason code of the failure, or null when there is a verified subject.
default failure := "identity.invalid"

failure := null if {
	subject
} else := fault

# Says what is wrong with a token that did not give a subject. It believes the token's unverified claims, so it
# can only explain a denial.
fault := "identity.missing" if {
	not input.identity.token
} else := "identity.malformed" if {
	not unverified
} else := "identity.issuer_unknown" if {
	not issuer
} else := "identity.key_unknown" if {
	not issuer.keys[header.kid]
} else := "identity.algorithm" if {
	not issuer.keys[header.kid].alg == header.alg
} else := "identity.audience" if {
	not audience(issuer.audiences, object.get(unverified, "aud", null))
} else := "identity.expired" if {
	is_number(unverified.exp)
	unverified.exp <= clock.now / 1000000000
} else := "identity.not_yet_valid" if {
	is_number(unverified.nbf)
	unverified.nbf > clock.now / 1000000000
} else := "identity.claims" if {
	signed
}

header := decoded if {
	object.keys(input.identity) == {"token"}
	count(input.identity.token) <= 8192
	segments := split(input.identity.token, ".")
	count(segments) == 3
	decoded := json.unmarshal(base64url.decode(segments[0]))
	object.remove(decoded, ["alg", "kid", "typ"]) == {}
	is_string(decoded.alg)
	is_string(decoded.kid)
	is_string(object.get(decoded, "typ", ""))
}

unverified := decoded if {
	header
	decoded := json.unmarshal(base64url.decode(split(input.identity.token, ".")[1]))
	is_object(decoded)
}

issuer := found if {
	is_string(unverified.iss)
	found := data.placet_state.trust.issuers[unverified.iss]
}

signed if {
	io.jwt.decode_verify(input.identity.token, {
		"cert": chosen.key.jwks,
		"alg": chosen.key.alg,
		"aud": chosen.audience,
		"time": clock.now,
	})[0]
}
