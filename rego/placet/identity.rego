# Who asks. The caller's own token says so; or, for a caller that was granted it, a certificate that it forwards or a
# subject that it asserts; or, inside an execution, the token of the execution.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.identity

import data.placet.actors
import data.placet.certificate
import data.placet.clock
import data.placet.execution
import data.placet.names
import data.placet.state
import data.placet.token

# The verified subject: its name, who vouches for it and for which trust domain, every verified claim, and who acts
# for it, the current actor first. `via` is who forwarded or asserted it. Undefined when anything is in doubt.
subject := usual if {
	count(input.identity) == 1
} else := presented if {
	count(input.identity) == 1
} else := forwarded if {
	count(input.identity) == 2
} else := asserted if {
	count(input.identity) == 2
} else := execution.subject

# Until when the subject is vouched for, in nanoseconds since 1970.
expires_at_ns := execution.token.exp * 1000000000 if {
	execution.inside
} else := min(ends)

# The trust domain of an issuer's subjects. Undefined when the issuer is not known.
domain_of(name) := data.placet_state.trust.issuers[name].domain

# The reason codes of what failed, in the order of the table. Inside an execution its own codes tell, but for what the agent
# stopped it for.
default failures := ["identity.invalid"]

failures := [code | code := execution.stopped; startswith(code, "identity.")] if {
	execution.inside
} else := [] if {
	subject
} else := token.failures if {
	token.failures != []
} else := listed if {
	listed := [code | some code in order; code in found]
	listed != []
}

order := [
	"identity.malformed",
	"identity.domain",
	"identity.actors",
	"identity.future",
	"identity.stale",
	"identity.certificate",
	"identity.grant",
]

# The subject of the usual token, whose header trust state lists: of a workload or a person at home, without actors.
usual := {"id": id, "issuer": by, "domain": domain, "claims": claims, "actors": []} if {
	text := input.identity.token
	count(text) <= 8192
	[head, _, _] := split(text, ".")
	trust := data.placet_state.trust
	{"issuer": by, "kid": kid, "alg": alg} := trust.headers[head]
	issuer := trust.issuers[by]
	domain := trust.domain
	domain == issuer.domain
	[audience] := issuer.audiences
	audience != ""
	{"alg": alg, "jwks": jwks} = issuer.keys[kid]
	alg in {"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	now := clock.now
	[true, _, claims] = io.jwt.decode_verify(text, {"cert": jwks, "alg": alg, "aud": audience, "time": now})
	claims.iss == by
	object.get(claims, "act", set()) == set()
	trust.max_identity_age_seconds == null

	# `concat` is defined for strings, and subtraction for numbers alone.
	id := claims.sub
	concat("", [by, id])
	id != ""
	iat := object.get(claims, "iat", 0)
	claims.exp - iat <= 253402300799
	claims.exp <= 253402300799
	iat <= (now / 1000000000) + 2
	names.vouches(issuer, id)
}

# The subject of the caller's own token.
presented := {
	"id": claims.sub,
	"issuer": name,
	"domain": issuer.domain,
	"claims": claims,
	"actors": listed,
} if {
	claims := token.verified.claims
	name := token.verified.issuer
	issuer := data.placet_state.trust.issuers[name]
	vouched_for(issuer, claims.sub)
	listed := actors.of(claims, name)
	actors_vouched_for(listed, issuer)
	timely(claims)
	fresh(claims)
}

forwarded := {
	"id": svid.id,
	"issuer": concat("", ["spiffe://", svid.domain]),
	"domain": svid.domain,
	"claims": {},
	"actors": [],
	"via": {"issuer": presented.issuer, "id": presented.id},
} if {
	may("forward-certificate")
	form == "certificate"
	svid := certificate.svid
	state.domain_linked(svid.domain)
}

asserted := {
	"id": id,
	"issuer": presented.issuer,
	"domain": presented.domain,
	"claims": {},
	"actors": [],
	"asserted": true,
	"via": {"issuer": presented.issuer, "id": presented.id},
} if {
	may("assert-subject")
	form == "asserted"
	id := input.identity.asserted.id
	names.vouches(data.placet_state.trust.issuers[presented.issuer], id)
}

# A grant is the subject's own: nobody who acts for it may use it.
may(grant) if {
	data.placet_state.trust.grants[presented.issuer][presented.id][grant] == true
	presented.actors == []
}

vouched_for(issuer, id) if {
	state.domain_linked(issuer.domain)
	names.vouches(issuer, id)
}

# An issuer names actors only of its own trust domain, and only as their issuer there might.
actors_vouched_for(listed, issuer) if {
	listed == []
} else if {
	every actor in listed {
		own := data.placet_state.trust.issuers[actor.issuer]
		own.domain == issuer.domain
		names.vouches(own, actor.id)
	}
}

# Two readings of one clock may differ by 2 s.
timely(claims) if object.get(claims, "iat", 0) <= (clock.now / 1000000000) + 2

# Whether the token is young enough, where the system says how old it may be.
fresh(claims) if {
	data.placet_state.trust.max_identity_age_seconds == null
} else if {
	clock.now <= fresh_until_ns(claims)
}

fresh_until_ns(claims) := (floor(claims.iat) + data.placet_state.trust.max_identity_age_seconds) * 1000000000 if {
	# `floor` of a number with a huge exponent would fill the memory.
	claims.iat >= 0
	claims.iat <= 253402300799
}

# When any of what the subject rests on ends.
ends contains floor(token.verified.claims.exp) * 1000000000

ends contains fresh_until_ns(token.verified.claims)

ends contains certificate.svid.expires_at_ns if form == "certificate"

# What `identity` holds. Undefined when it is something else.
form := "token" if {
	object.keys(input.identity) == {"token"}
} else := "certificate" if {
	object.keys(input.identity) == {"token", "certificate"}
	certificate.well_formed
} else := "asserted" if {
	object.keys(input.identity) == {"token", "asserted"}
	object.keys(input.identity.asserted) == {"id"}
	is_string(input.identity.asserted.id)
	input.identity.asserted.id != ""
}

# What is wrong with a token that verified, or with what stands beside it.

found contains "identity.malformed" if not form

found contains "identity.domain" if {
	not vouched_for(data.placet_state.trust.issuers[token.verified.issuer], token.verified.claims.sub)
}

found contains "identity.domain" if {
	listed := actors.of(token.verified.claims, token.verified.issuer)
	not actors_vouched_for(listed, data.placet_state.trust.issuers[token.verified.issuer])
}

found contains "identity.domain" if {
	may("forward-certificate")
	domain := certificate.svid.domain
	not state.domain_linked(domain)
}

found contains "identity.domain" if {
	form == "asserted"
	not names.vouches(data.placet_state.trust.issuers[token.verified.issuer], input.identity.asserted.id)
}

found contains "identity.actors" if not actors.of(token.verified.claims, token.verified.issuer)

found contains "identity.future" if not timely(token.verified.claims)

found contains "identity.stale" if not fresh(token.verified.claims)

# Only who may forward certificates can make OPA read them.
found contains "identity.certificate" if {
	form == "certificate"
	may("forward-certificate")
	not certificate.svid
}

found contains "identity.grant" if {
	grant := {"certificate": "forward-certificate", "asserted": "assert-subject"}[form]
	presented
	not may(grant)
}
