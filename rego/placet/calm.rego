# The usual requests in calm times: trust state has nobody in quarantine, and demands nothing of surroundings or workflows.
# They are proven in as few expressions and rules as will do: an expression costs every decision about a microsecond, another
# rule or function three, and a pattern is one expression, however many members it compares and names. What does not pass
# here is left to `usual.rego`, and then to the checks themselves; the tests show that nothing else passes.
#
# A name in a pattern that is also a rule of its package would mean that rule.

# METADATA
# scope: package
# schemas:
# - data.placet_state: schema.state
package placet.calm

import data.placet.clock
import data.placet.execution
import data.placet.identity
import data.placet.scope
import data.placet.single

# What the request rests on, as `usual.grounds`.
grounds := inside if {
	input.execution
} else := warranted if {
	input.warrant
} else := alone

# From inside an execution. Without warrants, none must be required, and its scope must be its subject's own.
inside := {
	"caller": {"issuer": by, "id": id, "domain": domain, "actors": [], "claims": claims},
	"subject": {"issuer": by, "id": id, "domain": domain, "actors": []},
	"warrant": {true: null, false: {"ids": warrants, "issuer": warrant_issuer}}[warrants == []],
	"execution": named,
	"until_ns": min([standing, exp * 1000000000]),
} if {
	{
		"action": {"name": action}, "resource": {"type": type, "id": resource}, "context": context,
		"execution": {"id": named, "token": text},
	} = input
	count(text) <= 16384
	[head, _, _] := split(text, ".")
	trust := data.placet_state.trust
	sidecar := trust.execution.issuer
	{"alg": "EdDSA", "jwks": jwks} = trust.execution.keys[trust.execution.headers[head]]
	now := clock.now
	[true, _, token] = io.jwt.decode_verify(text, {"cert": jwks, "alg": "EdDSA", "aud": trust.audience, "time": now})

	# For somebody at home, who depends on nobody else. Of what is removed, nothing is asked here.
	domain := trust.domain
	{
		"iss": sidecar, "aud": _, "iat": iat, "exp": exp, "exe": named,
		"sub": id, "sub_iss": by, "domain": domain, "actors": [], "claims": claims,
		"principals": [[by, id]], "domains": [domain],
		"warrants": warrants, "warrant_issuer": warrant_issuer,
		"actions": actions, "resources": resources, "constraints": constraints,
	} = object.remove(token, ["until", "rests", "workflow"])
	trust.issuers[by].domain == domain
	is_object(claims)

	# Subtraction is defined for numbers alone, and `concat` for strings. RFC 3339 ends with the year 9999.
	exp - iat > 0

	# `bits.and` is defined for integers alone, of which the product is exact.
	exp <= 253402300799
	bits.and(iat, exp) >= 0
	iat * 1000000000 <= now + 2000000000
	texts := [named, by, id, domain]
	concat("", array.concat(texts, warrants))
	min(texts) != ""

	# `object.filter` is defined for objects alone: a list of another form clears no warrant.
	object.filter(trust.warrant.revoked, warrants) == {}
	type_name(warrant_issuer) in {"string", "null"}
	own := [["*"], ["*"], {}, false]
	{true: [actions, resources, constraints, trust.warrant.required], false: own}[warrants == []] == own
	scope.matches(actions, action)
	contains(type, "/") == false
	scope.matches(resources, concat("/", [type, resource]))
	scope.constraints_met(constraints, context)
}

# By the caller's own token alone, where no warrant is required.
alone := {
	"caller": caller,
	"subject": {"issuer": by, "id": id, "domain": domain, "actors": []},
	"warrant": null,
	"execution": null,
	"until_ns": min([standing, floor(claims.exp) * 1000000000]),
} if {
	count(input) == 4
	count(input.identity) == 1
	data.placet_state.trust.warrant.required == false
	caller := identity.usual
	{"issuer": by, "id": id, "domain": domain, "actors": [], "claims": claims} = caller
}

# By the caller's own token and one warrant of the home domain, without delegation, proof or uses.
warranted := {
	"caller": caller,
	"subject": {"issuer": by, "id": id, "domain": domain, "actors": []},
	"warrant": {"ids": [granted.jti], "issuer": granted.iss},
	"execution": null,
	"until_ns": min([standing, floor(claims.exp) * 1000000000, granted.exp * 1000000000]),
} if {
	count(input) == 5
	count(input.identity) == 1
	granted := single.warrant
	caller := identity.usual
	{"issuer": by, "id": id, "domain": domain, "actors": [], "claims": claims} = caller
}

# Until when the lease lets a request of the right form pass, in nanoseconds. A start is none: it names its execution, and
# carries no token of one.
leased := until if {
	execution.starting == false
	state := data.placet_state

	# Subtraction is defined for numbers alone, so these are numbers, and the comparisons mean what they say.
	{"issued_at_ns": issued, "valid_until_ns": until} = state.lease
	now := clock.now
	until - issued <= 3600000000000
	issued <= now
	now <= until
	is_object(input.context)
	texts := [input.action.name, input.resource.type, input.resource.id, state.digest]
	concat("", texts)
	min(texts) != ""
}

# The same, where the times are calm.
standing := leased if {
	trust := data.placet_state.trust
	trust.quarantine == {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
	trust.environment.required == {}
	trust.segments == null
	trust.workflows == {}
}
