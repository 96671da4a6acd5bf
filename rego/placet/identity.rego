# Who asks: one JWT, verified with the keys of the trust state. What the input says about its caller counts for
# nothing.
#
# `io.jwt.decode` and the `iss` constraint of `io.jwt.decode_verify` are not used: a token's content can make
# either panic. The header is read by hand instead, and only its members alg, kid and typ are let through.
package placet.identity

import data.placet.clock

# The verified subject: its name, who vouches for it, and every verified claim. Undefined when there is none.
subject := {"id": claims.sub, "issuer": claims.iss, "claims": claims} if {
	object.keys(input.identity) == {"token"}
	count(input.identity.token) <= 8192
	[head, body, _] := split(input.identity.token, ".")

	header := json.unmarshal(base64url.decode(head))
	object.remove(header, ["alg", "kid", "typ"]) == {}
	is_string(header.kid)
	is_string(object.get(header, "typ", ""))

	# Nothing of the payload is known to be true yet: it only chooses the key.
	unverified := json.unmarshal(base64url.decode(body))
	is_string(unverified.iss)
	issuer := data.placet_state.trust.issuers[unverified.iss]
	key := issuer.keys[header.kid]

	# A cached verification does not look at `alg` again: a token that verified once would pass under another.
	key.alg == header.alg
	key.alg in {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

	verified := io.jwt.decode_verify(input.identity.token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": audience(issuer.audiences, unverified.aud),
		"time": clock.now,
	})
	verified[0] == true
	claims := verified[2]
	claims.iss == unverified.iss
	is_string(claims.sub)
	claims.sub != ""
	is_number(claims.exp)
	claims.exp > 0

	# 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
	claims.exp <= 253402300799
	is_number(object.get(claims, "nbf", 0))
	is_number(object.get(claims, "iat", 0))
}

# The first of the issuer's audiences that the token names.
audience(accepted, named) := [one |
	some one in accepted
	is_string(one)
	one != ""
	includes(named, one)
][0]

includes(named, one) if named == one

includes(named, one) if {
	is_array(named)
	one in named
}

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
	not audience(issuer.audiences, unverified.aud)
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
	key := issuer.keys[header.kid]
	io.jwt.decode_verify(input.identity.token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": audience(issuer.audiences, unverified.aud),
		"time": clock.now,
	})[0]
}
