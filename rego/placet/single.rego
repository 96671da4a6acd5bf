# The usual chain: one warrant of the home domain, without delegation, proof or uses, in as few expressions as will do:
# each costs every decision about a microsecond. What does not pass here goes the long way; the tests show that nothing
# else passes.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.single

import data.placet.clock
import data.placet.identity
import data.placet.scope

# The claims of the one warrant, when it authorizes the request of the caller.
warrant := one if {
	[text] := input.warrant
	count(text) <= 8192
	[first, _, _] := split(text, ".")
	{"alg": alg, "kid": kid, "typ": "warrant+jwt"} = json.unmarshal(base64url.decode(first))
	trust := data.placet_state.trust
	audience := trust.audience
	some issuer, trusted in trust.warrant.issuers
	{"alg": alg, "jwks": jwks} = trusted.keys[kid]
	alg in {"EdDSA", "ES256"}
	trusted.domain == trust.domain
	[true, _, one] = io.jwt.decode_verify(text, {"cert": jwks, "alg": alg, "aud": audience, "time": clock.now})

	# Its subject is the caller, who is at home. A verified name is no empty text. It has these claims, and perhaps constraints.
	caller := identity.subject
	[id, name] := [caller.id, caller.issuer]
	object.get(caller, "actors", []) == []
	trust.issuers[name].domain == trust.domain
	{
		"iss": issuer, "aud": audience, "sub": id, "sub_id": {"format": "iss_sub", "iss": name, "sub": id},
		"iat": iat, "exp": exp, "jti": jti, "actions": actions, "resources": resources,
	} = object.remove(one, ["constraints"])
	0 <= iat
	iat < exp
	exp <= 253402300799
	bits.and(iat, exp) >= 0
	iat * 1000000000 <= clock.now + 2000000000
	regex.match(`^[A-Za-z0-9_-]{1,64}$`, jti)
	object.get(trust.warrant.revoked, jti, set()) == set()
	scope.patterns_well_formed(actions)
	scope.patterns_well_formed(resources)
	scope.matches(actions, input.action.name)
	scope.resource_covered(resources, input.resource)
	bounded(object.get(one, "constraints", {}))
}

bounded(constraints) if {
	constraints == {}
} else if {
	is_object(constraints)
	count(constraints) <= 32
	met := [member |
		some member, bound in constraints
		scope.bound_well_formed(bound)
		scope.inside(bound, input.context[member])
	]
	count(met) == count(constraints)
}
