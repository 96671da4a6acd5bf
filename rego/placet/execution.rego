# The execution token: one flat JWT by this sidecar's key, given when the execution started and everything was checked.
# Inside the execution it stands for the subject's token and the chain of warrants.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.execution

import data.placet.clock
import data.placet.scope

# Whether an execution is about to start: uses of warrants will then be redeemed. `placet.start` says so.
starting := false

# Whether the request speaks from inside an execution, whatever its token is worth.
default inside := false

inside if object.get(input, ["execution", "token"], set()) != set()

# The verified claims. Undefined when they do not hold.
token := claims if {
	text := input.execution.token
	count(text) <= 16384
	key := data.placet_state.trust.execution.keys[kid]
	key.alg == "EdDSA"
	[true, _, claims] = io.jwt.decode_verify(text, {
		"cert": key.jwks,
		"alg": "EdDSA",
		"aud": data.placet_state.trust.audience,
		"time": clock.now,
	})
	claims.iss == data.placet_state.trust.execution.issuer

	# Subtraction is defined for numbers alone, and `concat` for strings. RFC 3339 ends with the year 9999.
	claims.exp - claims.iat > 0
	claims.exp <= 253402300799
	claims.iat <= (clock.now / 1000000000) + 2
	names := [claims.exe, claims.sub, claims.sub_iss, claims.domain]
	concat("", names)
	min(names) != ""
	is_object(claims.claims)
	concat("", array.concat([issuer | issuer := claims.warrant_issuer; issuer != null], claims.warrants))
	dependence_well_formed(claims)
}

# On whom the execution depends: its actors, and everybody and every domain that quarantine is to look up.
dependence_well_formed(claims) if {
	claims.actors == []
	claims.principals == [[claims.sub_iss, claims.sub]]
	claims.domains == [claims.domain]
} else if {
	claims.actors == [{"issuer": issuer, "id": id} | some {"issuer": issuer, "id": id} in claims.actors; concat("", [issuer, id])]
	concat("", claims.domains)

	# Nobody can be looked up who is not a pair of texts.
	claims.principals == [[issuer, id] | some [issuer, id] in claims.principals]
	concat("", array.flatten(claims.principals))
}

# The subject for whom the execution was started.
subject := object.union(
	{
		"id": token.sub,
		"issuer": token.sub_iss,
		"domain": token.domain,
		"claims": token.claims,
		"actors": token.actors,
	},
	object.filter(token, ["asserted", "via"]),
)

# The reason codes of what failed, in the order of the table; none outside of executions.
default failures := ["execution.invalid"]

failures := ["execution.malformed"] if {
	starting
	not startable
} else := [] if {
	not inside
} else := ["execution.malformed"] if {
	not well_formed
} else := ["execution.expired"] if {
	not token
	unverified.exp <= clock.now / 1000000000
	is_number(unverified.exp)
} else := [code | some code in order; code in found] if {
	token
}

order := [
	"execution.mismatch",
	"execution.scope",
	"warrant.missing",
	"warrant.issuer_unknown",
	"warrant.key_unknown",
	"warrant.invalid",
	"warrant.domain",
	"warrant.revoked",
]

startable if {
	input.execution.id
	not inside
}

found contains "execution.mismatch" if not token.exe == input.execution.id

found contains "execution.scope" if not covered

found contains "warrant.missing" if not warranted

found contains "warrant.revoked" if not unrevoked

found contains stopped

# Why the agent stopped the execution: what it rests on is trusted no longer. Others that have ended are listed with another
# word, or as quarantine is, and `quarantine.execution` says so.
stopped := code if {
	code := data.placet_state.trust.quarantine.executions[token.exe]
	code in stopping
}

# Each of these is among the failures of its package, or else a stop would deny nothing.
stopping := {
	"identity.issuer_unknown",
	"identity.key_unknown",
	"identity.invalid",
	"identity.audience",
	"identity.stale",
	"identity.domain",
	"identity.certificate",
	"identity.grant",
	"quarantine.subject",
	"quarantine.actor",
	"quarantine.domain",
	"warrant.issuer_unknown",
	"warrant.key_unknown",
	"warrant.invalid",
	"warrant.domain",
	"warrant.revoked",
}

# Without warrants, an execution may do what its subject may, unless its scope says less.
covered if {
	token.warrants == []
	[token.actions, token.resources, token.constraints] == [["*"], ["*"], {}]
} else if {
	scope.covers(token, input)
}

warranted if {
	token.warrants != []
} else if {
	data.placet_state.trust.warrant.required == false
}

# Written positively: a list of the wrong form clears no warrant.
unrevoked if {
	revoked := data.placet_state.trust.warrant.revoked
	is_object(revoked)
	every id in token.warrants {
		object.get(revoked, id, set()) == set()
	}
}

# The token stands for identity and warrants, and alone.
well_formed if {
	unverified
	object.keys(input) & {"identity", "warrant", "proof"} == set()
}

# The key's id: trust state lists how this sidecar writes its header, so that it need not be taken apart.
kid := data.placet_state.trust.execution.headers[head] if {
	[head, _, _] := split(input.execution.token, ".")
} else := header.kid

header := decoded if {
	count(input.execution.token) <= 16384
	segments := split(input.execution.token, ".")
	count(segments) == 3
	decoded := json.unmarshal(base64url.decode(segments[0]))
	object.keys(decoded) == {"alg", "kid", "typ"}
	decoded.typ == "execution+jwt"
	decoded.alg == "EdDSA"
	is_string(decoded.kid)
}

# Nothing of it is known to be true: it can only explain a denial.
unverified := decoded if {
	header
	decoded := json.unmarshal(base64url.decode(split(input.execution.token, ".")[1]))
	is_object(decoded)
}
