# The start of an execution: one decision, with everything that the agent then signs into the execution's token. Only
# the agent can ask for it: uses of warrants are counted at the control plane before the token is given.
package placet

import data.placet.execution
import data.placet.identity
import data.placet.quarantine
import data.placet.warrant

# `decision` as of any request; `claims` of the token, or null; `redeem`, what has to be counted first; and the latest
# time at which the token may end, in nanoseconds since 1970.
start := {"decision": refused, "claims": null, "redeem": [], "expires_at_ns": null} if {
	# What was allowed and did not start after all, such as for lack of uses: the agent asks again, so that a record says so.
	object.get(input, ["execution", "refused"], set()) != set()
	started := begun with execution.starting as true
		with warrant.redeemed as true
	refused := object.union(started.decision, {
		"allow": false,
		"reasons": array.concat([input.execution.refused], started.decision.reasons),
		"obligations": [],
		"mode": null,
		"expires_at": null,
	})
} else := started if {
	started := begun with execution.starting as true
		with warrant.redeemed as true
}

begun := {
	"decision": decision,
	"claims": object.union(object.filter(subject, ["asserted", "via"]), {
		"sub": subject.id,
		"sub_iss": subject.issuer,
		"domain": subject.domain,
		"actors": subject.actors,
		"claims": carried,
		"principals": array.concat([[subject.issuer, subject.id]], [other | some other in others]),
		"domains": [domain | some domain in {domain | some domain in quarantine.domains; is_string(domain)}],
		"warrants": effective.ids,
		"warrant_issuer": effective.issuer,
		"actions": effective.actions,
		"resources": effective.resources,
		"constraints": effective.constraints,
	}),
	"redeem": effective.redeem,
	"expires_at_ns": min(array.concat(effective.ends, mode_ends)),
} if {
	decision.allow
} else := {"decision": decision, "claims": null, "redeem": [], "expires_at_ns": null}

# Everybody else on whom it depends, once each.
others := {[one.issuer, one.id] |
	some one in quarantine.others
	[one.issuer, one.id] != [subject.issuer, subject.id]
}

# What the chain of warrants grants; without one, what the subject may do by itself.
effective := {
	"ids": warrant.granted.ids,
	"issuer": warrant.granted.issuer,
	"actions": warrant.scope.actions,
	"resources": warrant.scope.resources,
	"constraints": warrant.scope.constraints,
	"redeem": warrant.redeem,
	"ends": [identity.expires_at_ns, warrant.expires_at * 1000000000],
} if {
	warrant.failures == []
	warrant.granted != null
} else := {
	"ids": [],
	"issuer": null,
	"actions": ["*"],
	"resources": ["*"],
	"constraints": {},
	"redeem": [],
	"ends": [identity.expires_at_ns],
} if {
	warrant.granted == null
}

# Large claims are left behind: a token has to fit into every request.
carried := subject.claims if {
	count(json.marshal(subject.claims)) <= 4096
} else := {}

mode_ends := [lifting.until_ns] if {
	decision.mode != null
} else := []
