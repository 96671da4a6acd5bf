# Where the request is decided, and where its caller runs: attestation results, as a trusted verifier signed them.
#
# A result is a JWT of type `ear+jwt`, shaped as an EAT attestation result: `submods` holds what was found, by kind
# (image, node, region, posture); or of type `vsa+jwt`, a verification summary, which is a result about an image. Those
# in the trust state are about this sidecar, those in the request about its verified caller.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.environment

import data.placet.chain
import data.placet.clock
import data.placet.identity
import data.placet.state
import data.placet.summary

# The reason codes of what is wrong, in the order of the table. Empty when each required kind is affirmed.
default failures := ["environment.missing"]

failures := [] if {
	required == {}
} else := [] if {
	satisfied
} else := explained if {
	explained != []
}

required := data.placet_state.trust.environment.required

satisfied if {
	is_object(required)
	every kind, _ in required {
		ends[kind] != []
	}
}

# Until when what is required holds, in seconds since 1970: for each kind as long as the best of its results. Null when
# nothing is required.
default expires_at := null

expires_at := min([max(until) | some until in ends]) if {
	required != {}
	satisfied
}

# For each required kind, until when each result holds that affirms what is asked of it.
ends[kind] := [end |
	some result in results
	affirming(result, kind)
	accepted(result, kind)
	end := min([result.exp, result.iat + demand.max_age_seconds])
	end > now
] if {
	some kind, demand in required
}

affirming(result, kind) if result.submods[kind]["ear.status"] == "affirming"

accepted(result, kind) if {
	is_object(required[kind].accept)
	every claim, values in required[kind].accept {
		meets(result.submods[kind], claim, values)
	}
}

# An image has several levels, one of each track: any of them will do.
meets(part, claim, values) if part[claim] in values

meets(part, "levels", values) if {
	is_array(part.levels)
	some level in part.levels
	level in values
}

# The one clock reading, in seconds.
now := clock.now / 1000000000

# What verified results say, about this sidecar and about the caller.
results := array.concat(about_sidecar, about_caller)

about_sidecar := [result |
	some token in data.placet_state.trust.environment.results
	[result, domain] := verified(token)
	domain == data.placet_state.trust.domain
	result.sub == data.placet_state.trust.execution.issuer
]

about_caller := [result |
	some token in presented
	[result, domain] := verified(token)

	# An attester of another domain speaks for the subjects of that domain alone.
	domain in {data.placet_state.trust.domain, identity.subject.domain}
	result.sub_id == {"format": "iss_sub", "iss": identity.subject.issuer, "sub": identity.subject.id}
]

# The results in the request: at most 4.
default presented := []

presented := input.environment if {
	is_array(input.environment)
	count(input.environment) <= 4
}

# A result that a trusted attester signed for this system, and that was not revoked, and the attester's trust domain. One
# that has expired gets through (it verifies at the last second of its own): what is required of its age is looked at
# above.
verified(token) := [read(header.typ, claims), attester.domain] if {
	count(token) <= 8192
	[first, body, _] := split(token, ".")
	said := json.unmarshal(base64url.decode(body))
	attester := data.placet_state.trust.environment.attesters[said.iss]
	state.domain_linked(attester.domain)

	# A cached verification does not look at `alg` again, and other members of a header may panic the builtin.
	header := json.unmarshal(base64url.decode(first))
	key := attester.keys[header.kid]
	header == {"alg": key.alg, "kid": header.kid, "typ": header.typ}
	key.alg in {"EdDSA", "ES256", "ES384"}
	chain.whole(said.exp) # to count with others can cost much
	[true, _, claims] = io.jwt.decode_verify(token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": data.placet_state.trust.audience,
		"time": (said.exp - 1) * 1000000000,
	})
	claims.iss == said.iss
	chain.whole(claims.iat)
	chain.whole(claims.exp)
	claims.iat <= now + 2
	chain.whole(object.get(claims, "nbf", 0))
	object.get(claims, "nbf", 0) <= now
	is_string(claims.jti)

	# `object.get` is defined for objects alone, so a list of another form clears nothing.
	object.get(data.placet_state.trust.environment.revoked, claims.jti, set()) == set()
}

# The type alone says how claims are read, so that no token passes for one of the other type.
read("ear+jwt", claims) := claims if {
	claims.eat_profile == "https://placet.dev/environment/v1"
	is_object(claims.submods)
}

read("vsa+jwt", claims) := {
	"sub": object.get(claims, "sub", null),
	"sub_id": object.get(claims, "sub_id", null),
	"iat": min([claims.iat, found.verified_at]),
	"exp": claims.exp,
	"submods": {"image": found.image},
} if {
	found := summary.read(claims)
}

# What is wrong, for a denial: of each kind that is not affirmed, how near it came.

explained := [code |
	some code in ["environment.missing", "environment.invalid", "environment.stale", "environment.rejected"]
	code in found
]

found contains lack(kind) if {
	some kind, until in ends
	until == []
}

lack(kind) := "environment.rejected" if {
	some result in results
	result.submods[kind]
	end_of(result, kind) > now
} else := "environment.stale" if {
	some result in results
	affirming(result, kind)
	accepted(result, kind)
} else := "environment.rejected" if {
	some result in results
	result.submods[kind]
} else := "environment.invalid" if {
	count(results) < count(given)
} else := "environment.missing"

end_of(result, kind) := min([result.exp, result.iat + required[kind].max_age_seconds])

# Every result that was given, verified or not.
given := array.concat(
	[token | some token in data.placet_state.trust.environment.results],
	[token | some token in input.environment],
)
