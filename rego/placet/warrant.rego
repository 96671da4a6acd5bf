# What the caller was authorized to do by others: a chain of warrants, each hop equal to or narrower than the one
# before it, the last one held by the verified caller.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.warrant

import data.placet.chain
import data.placet.clock
import data.placet.identity
import data.placet.proof
import data.placet.scope as scopes
import data.placet.state

# Whether the uses of the chain are being counted: the start of an execution says so, and nothing else.
default redeemed := false

# The reason codes of what is wrong, in the order of the table. Empty when the request needs no warrant, or carries a
# chain that authorizes it.
default failures := ["warrant.malformed"]

failures := [] if {
	absent
	dispensable
} else := ["warrant.missing"] if {
	absent
} else := [] if {
	sound
} else := explained if {
	explained != []
}

# Whether there is none. A member that is there is judged, whatever it holds.
absent if object.get(input, "warrant", set()) == set()

dispensable if {
	data.placet_state.trust.warrant.required == false
} else if {
	# The token carries the scope of the warrants that its execution was started with.
	is_string(input.execution.token)
}

# Whether the chain verifies and authorizes this request of this caller. First the usual chain: one warrant of the home
# domain, without delegation, proof or uses, in as few expressions as will do. What does not pass there goes the
# long way; the tests show that nothing else passes.
sound if {
	usual
} else if {
	[only] := chain.claims
	acceptable(only)
	held(only)
	scopes.covers(reach(only), input)
	proof.failures == []
} else if {
	chain.verified
	every one in chain.claims {
		acceptable(one)
	}
	every position in numbers.range(1, count(chain.claims) - 1) {
		delegated(chain.claims[position - 1], chain.claims[position])
	}
	count({one.jti | some one in chain.claims}) == count(chain.claims)
	held(chain.last)
	scopes.covers(reach(chain.last), input)
	proof.failures == []
}

# The claims of the usual warrant, when it authorizes the request.
usual := one if {
	[token] := input.warrant
	count(token) <= 8192
	[first, _, _] := split(token, ".")
	header := json.unmarshal(base64url.decode(first))
	some issuer, trusted in data.placet_state.trust.warrant.issuers
	key := trusted.keys[header.kid]
	header == {"alg": key.alg, "kid": header.kid, "typ": "warrant+jwt"}
	key.alg in {"EdDSA", "ES256"}
	trusted.domain == data.placet_state.trust.domain
	[true, _, one] = io.jwt.decode_verify(token, {
		"cert": key.jwks,
		"alg": key.alg,
		"aud": data.placet_state.trust.audience,
		"time": clock.now,
	})
	one.iss == issuer
	one.aud == data.placet_state.trust.audience

	# Its subject is the caller, who is at home. A verified name is no empty text.
	caller := identity.subject
	one.sub == caller.id
	one.sub_id == {"format": "iss_sub", "iss": caller.issuer, "sub": caller.id}
	object.get(caller, "actors", []) == []
	data.placet_state.trust.issuers[caller.issuer].domain == data.placet_state.trust.domain
	0 <= one.iat
	one.iat < one.exp
	one.exp <= 253402300799
	bits.and(one.iat, one.exp) >= 0
	(one.iat - 2) * 1000000000 <= clock.now
	regex.match(`^[A-Za-z0-9_-]{1,64}$`, one.jti)
	object.get(data.placet_state.trust.warrant.revoked, one.jti, set()) == set()
	scopes.patterns_well_formed(one.actions)
	scopes.patterns_well_formed(one.resources)
	scopes.matches(one.actions, input.action.name)
	scopes.resource_covered(one.resources, input.resource)
	bounded(one)
}

# Nothing but what every warrant has, and perhaps constraints.
bounded(one) if {
	count(one) == 9
} else if {
	count(one) == 10
	met := [member |
		some member, bound in one.constraints
		scopes.bound_well_formed(bound)
		scopes.inside(bound, input.context[member])
	]
	count(met) == count(one.constraints)
}

# What each warrant must show for itself.
acceptable(one) if {
	for_this_system(one)
	unexpired(one)
	begun(one)
	linked(one)
	unrevoked(one)
	counted(one)
}

for_this_system(one) if data.placet_state.trust.audience in chain.audiences(one)

unexpired(one) if one.exp * 1000000000 > clock.now

# `iat` may be ahead of this host's clock by 2 seconds, `nbf` not at all.
begun(one) if {
	object.get(one, "nbf", 0) * 1000000000 <= clock.now
	(one.iat - 2) * 1000000000 <= clock.now
}

# Every holder's issuer is known, and of a domain that is this one or linked.
linked(one) if {
	issuers := data.placet_state.trust.issuers
	state.domain_linked(issuers[one.sub_id.iss].domain)
	state.domain_linked(issuers[object.get(one, ["act", "iss"], one.sub_id.iss)].domain)
}

# `object.get` is defined for objects alone, so a list of another form clears nothing; and any entry at all revokes.
unrevoked(one) if object.get(data.placet_state.trust.warrant.revoked, one.jti, set()) == set()

counted(one) if {
	object.get(one, "uses", null) == null
} else if {
	redeemed == true
}

# Whether the caller, as verified, is who may use the warrant: its holder alone; or its subject, when the token says
# that the warrant's actor acts for it.
held(one) if {
	caller := identity.subject
	object.get(caller, "actors", []) == []
	chain.holder(one) == {"issuer": caller.issuer, "id": caller.id}
} else if {
	caller := identity.subject
	[actor] := object.get(caller, "actors", [])
	chain.holder(one) == {"issuer": actor.issuer, "id": actor.id}
	caller.issuer == one.sub_id.iss
	caller.id == one.sub
	one.act
}

# Whether `child` follows from `parent`: delegated by its holder, in fewer hops, and equal or narrower.
delegated(parent, child) if {
	passed_on(parent, child)
	shallower(parent, child)
	narrower(parent, child)
}

passed_on(parent, child) if chain.holder(parent).id == child.iss

# A parent of depth 0 (or of none) has no children.
shallower(parent, child) if object.get(child, "depth", 0) <= object.get(parent, "depth", 0) - 1

narrower(parent, child) if {
	child.exp <= parent.exp
	object.get(child, "nbf", 0) >= object.get(parent, "nbf", 0)
	every audience in chain.audiences(child) {
		audience in chain.audiences(parent)
	}
	scopes.narrower(reach(child), reach(parent))
}

# What a warrant allows.
reach(one) := {
	"actions": one.actions,
	"resources": one.resources,
	"constraints": object.get(one, "constraints", {}),
}

# What others read. Nothing of it but `holders` is known unless the chain is sound.

# What the whole chain allows: everything where no warrant is needed. Each hop is narrower, so it is what the last says.
scope := reach(chain.last) if {
	sound
} else := {"actions": ["*"], "resources": ["*"], "constraints": {}} if {
	failures == []
}

# For user policies.
default granted := null

granted := {
	"ids": ids,
	"issuer": chain.claims[0].iss,
	"subject": {"issuer": chain.last.sub_id.iss, "id": chain.last.sub},
	"actors": [{"issuer": chain.last.act.iss, "id": chain.last.act.sub} | chain.last.act],
	"actions": scope.actions,
	"resources": scope.resources,
	"constraints": scope.constraints,
	"expires_at": expires_at,
} if {
	sound
}

# The `jti` of each, root first.
default ids := []

ids := [one.jti | some one in chain.claims] if sound

# When the first of them ends, in seconds since 1970; null where there is none.
default expires_at := null

expires_at := min([one.exp | some one in chain.claims]) if sound

# What is to be counted when an execution starts.
default redeem := []

redeem := [{"jti": one.jti, "issuer": one.iss, "uses": one.uses, "expires_at": one.exp} |
	some one in chain.claims
	one.uses
] if {
	sound
}

# Everybody through whose hands the chain went, as far as it verifies: subjects and actors, with the domain of each,
# null where it is not known.
default holders := []

holders := [{"issuer": who.iss, "id": who.sub, "domain": domain} |
	some one in chain.claims
	some who in [one.sub_id, object.get(one, "act", null)]
	domain := object.get(data.placet_state.trust.issuers, [who.iss, "domain"], null)
] if {
	input.warrant
}

# What is wrong, for a denial.

explained := [code | some code in order; code in found]

order := [
	"warrant.malformed",
	"warrant.issuer_unknown",
	"warrant.key_unknown",
	"warrant.algorithm",
	"warrant.invalid",
	"warrant.audience",
	"warrant.expired",
	"warrant.not_yet_valid",
	"warrant.subject",
	"warrant.widened",
	"warrant.depth",
	"warrant.domain",
	"warrant.revoked",
	"warrant.action",
	"warrant.resource",
	"warrant.constraint",
	"warrant.proof_missing",
	"warrant.proof_invalid",
	"warrant.needs_execution",
]

found contains code if some code in chain.faults

found contains code if some code in proof.failures

found contains "warrant.malformed" if {
	chain.verified
	count({one.jti | some one in chain.claims}) != count(chain.claims)
}

found contains "warrant.audience" if {
	some one in verified
	not for_this_system(one)
}

found contains "warrant.expired" if {
	some one in verified
	not unexpired(one)
}

found contains "warrant.not_yet_valid" if {
	some one in verified
	not begun(one)
}

found contains "warrant.domain" if {
	some one in verified
	not linked(one)
}

found contains "warrant.revoked" if {
	some one in verified
	not unrevoked(one)
}

found contains "warrant.needs_execution" if {
	some one in verified
	not counted(one)
}

found contains "warrant.subject" if {
	some [parent, child] in hops
	not passed_on(parent, child)
}

found contains "warrant.widened" if {
	some [parent, child] in hops
	not narrower(parent, child)
}

found contains "warrant.depth" if {
	some [parent, child] in hops
	not shallower(parent, child)
}

# One that was not to be delegated was, whether or not what follows verifies.
found contains "warrant.depth" if {
	some position, one in chain.claims
	position < count(chain.claims) - 1
	object.get(one, "depth", 0) == 0
}

found contains "warrant.subject" if {
	chain.verified
	not held(chain.last)
}

found contains "warrant.action" if {
	chain.verified
	not action_covered
}

found contains "warrant.resource" if {
	chain.verified
	not resource_covered
}

found contains "warrant.constraint" if {
	chain.verified
	not constraints_met
}

# Rules of their own, because OPA takes references out of `not f(reference)`: where one is undefined, so is the negation.
action_covered if scopes.matches(chain.last.actions, input.action.name)

resource_covered if scopes.resource_covered(chain.last.resources, input.resource)

constraints_met if scopes.constraints_met(reach(chain.last).constraints, object.get(input, "context", {}))

verified := [one | some one in chain.claims; one != null]

# Each delegation that verifies, as its parent and its child.
hops := [[parent, child] |
	some position, child in verified
	position > 0
	parent := verified[position - 1]
]
