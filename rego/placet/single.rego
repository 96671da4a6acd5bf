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
	scope.patterns_well_formed(one.actions)
	scope.patterns_well_formed(one.resources)
	scope.matches(one.actions, input.action.name)
	scope.resource_covered(one.resources, input.resource)
	bounded(one)
}

# Nothing but what every warrant has, and perhaps constraints.
bounded(one) if {
	count(one) == 9
} else if {
	count(one) == 10
	is_object(one.constraints)
	count(one.constraints) <= 32
	met := [member |
		some member, bound in one.constraints
		scope.bound_well_formed(bound)
		scope.inside(bound, input.context[member])
	]
	count(met) == count(one.constraints)
}
