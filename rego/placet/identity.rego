# Who asks: one JWT, verified with the keys of the trust state. The input's own claims about the caller count
# for nothing.
#
# `io.jwt.decode` and the `iss` constraint of `io.jwt.decode_verify` are not used: both can be made to panic by
# a token's content. The header is read by hand instead, and only the members alg, kid and typ are let through.
package placet.identity

import data.placet.clock

# Longer tokens are refused unread.
longest_token := 8192

# Asymmetric signatures only: with an octet key in a key set, HMAC would verify.
algorithms := {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

# 9999-12-31T23:59:59Z: the last second that RFC 3339 can write.
last_second := 253402300799

token := input.identity.token

# The verified subject: its name, who vouches for it, and every verified claim. Null when there is none.
default subject := null

subject := {"id": claims.sub, "issuer": claims.iss, "claims": claims} if {
	claims.iss == unverified.iss
	is_string(claims.sub)
	claims.sub != ""
	is_number(claims.exp)
	claims.exp > 0
	claims.exp <= last_second
	is_number(object.get(claims, "nbf", 0))
	is_number(object.get(claims, "iat", 0))
}

claims := verified[2] if verified[0] == true

verified := io.jwt.decode_verify(token, {
	"cert": key.jwks,
	"alg": key.alg,
	"aud": audience,
	"time": clock.now,
}) if {
	algorithm_agrees
}

segments := split(token, ".") if {
	object.keys(input.identity) == {"token"}
	count(token) <= longest_token
}

header := decoded if {
	count(segments) == 3
	decoded := json.unmarshal(base64url.decode(segments[0]))
	object.remove(decoded, ["alg", "kid", "typ"]) == {}
	is_string(decoded.alg)
	is_string(decoded.kid)
	is_string(object.get(decoded, "typ", ""))
}

# The payload before its signature is known to be good. It only chooses the key and explains a failure.
unverified := decoded if {
	header
	decoded := json.unmarshal(base64url.decode(segments[1]))
	is_object(decoded)
}

issuer := found if {
	is_string(unverified.iss)
	found := data.placet_state.trust.issuers[unverified.iss]
	is_object(found)
}

key := found if {
	found := issuer.keys[header.kid]
	is_string(found.jwks)
}

# A cached verification does not look at `alg` again: a token that verified once would pass under another.
algorithm_agrees if {
	key.alg == header.alg
	header.alg in algorithms
}

# The first of the issuer's audiences that the token names.
audience := [wanted |
	some wanted in issuer.audiences
	is_string(wanted)
	wanted != ""
	names(unverified.aud, wanted)
][0]

names(aud, wanted) if aud == wanted

names(aud, wanted) if {
	is_array(aud)
	wanted in aud
}

# The reason code of the failure, or null when there is a verified subject. Only a failed token gets here with
# its unverified claims, to say what is wrong with it.
default failure := "identity.invalid"

failure := null if {
	subject != null
} else := "identity.missing" if {
	not input.identity.token
} else := "identity.malformed" if {
	not unverified
} else := "identity.issuer_unknown" if {
	not issuer
} else := "identity.key_unknown" if {
	not key
} else := "identity.algorithm" if {
	not algorithm_agrees
} else := "identity.audience" if {
	not audience
} else := "identity.expired" if {
	is_number(unverified.exp)
	unverified.exp * 1000000000 <= clock.now
} else := "identity.not_yet_valid" if {
	is_number(unverified.nbf)
	unverified.nbf * 1000000000 > clock.now
} else := "identity.claims" if {
	claims
}
