# What the caller was authorized to do by others: a chain of warrants, each hop equal to or narrower than the one
# before it, the last one held by the verified caller.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.warrant

import data.placet.chain
import data.placet.execution
import data.placet.hop
import data.placet.objection
import data.placet.proof
import data.placet.scope as scopes
import data.placet.single

# Whether the uses of the chain are being counted: the start of an execution says so, and nothing else.
default redeemed := false

# The reason codes of what is wrong, in the order of the table. Empty when the request needs no warrant, or carries a
# chain that authorizes it.
default failures := ["warrant.malformed"]

failures := [] if {
	# The execution's token carries the scope of the warrants that it was started with, and says what is wrong there.
	execution.inside
} else := [] if {
	absent
	data.placet_state.trust.warrant.required == false
} else := ["warrant.missing"] if {
	absent
} else := [] if {
	trail
} else := objection.codes if {
	objection.codes != []
}

# Whether there is none. A member that is there is judged, whatever it holds.
absent if object.get(input, "warrant", set()) == set()

# The claims of each warrant, root first, of a chain that verifies and authorizes this request of this caller. Undefined
# for every other.
trail := links if {
	not execution.inside
	links := authorizing
}

authorizing := [usual] if {
	usual := single.warrant
	is_object(usual)
} else := [only] if {
	[only] := chain.claims
	hop.acceptable(only)
	hop.held(only)
	scopes.covers(hop.reach(only), input)
	proof.failures == []
} else := chain.claims if {
	chain.verified
	every one in chain.claims {
		hop.acceptable(one)
	}
	every position in numbers.range(1, count(chain.claims) - 1) {
		hop.delegated(chain.claims[position - 1], chain.claims[position])
	}
	count({one.jti | some one in chain.claims}) == count(chain.claims)
	hop.held(chain.last)
	scopes.covers(hop.reach(chain.last), input)
	proof.failures == []
}

# What others read. Nothing of it but `holders` is known unless the chain authorizes the request; inside an execution
# there is no chain.

# What the whole chain allows: everything where no warrant is needed. Each hop is narrower, so it is what the last says.
scope := hop.reach(last) if {
	trail
} else := {"actions": ["*"], "resources": ["*"], "constraints": {}} if {
	failures == []
	not execution.inside
}

last := trail[count(trail) - 1]

# For user policies. Inside an execution it is what the token carries of the warrants that it was started with.
default granted := null

granted := {
	"ids": token.warrants,
	"issuer": token.warrant_issuer,
	"subject": {"issuer": token.sub_iss, "id": token.sub},
	"actors": token.actors,
	"actions": token.actions,
	"resources": token.resources,
	"constraints": token.constraints,
	"expires_at": token.exp,
} if {
	execution.inside
	token := execution.token
	token.warrants != []
} else := {
	"ids": ids,
	"issuer": trail[0].iss,
	"subject": {"issuer": last.sub_id.iss, "id": last.sub},
	"actors": [{"issuer": last.act.iss, "id": last.act.sub} | last.act],
	"actions": last.actions,
	"resources": last.resources,
	"constraints": object.get(last, "constraints", {}),
	"expires_at": expires_at,
} if {
	not execution.inside
}

# The `jti` of each, root first.
default ids := []

ids := [one.jti | some one in trail] if trail

# When the first of them ends, in seconds since 1970; null where there is none.
default expires_at := null

expires_at := min([one.exp | some one in trail]) if trail

# What is to be counted when an execution starts.
default redeem := []

redeem := [{"jti": one.jti, "issuer": one.iss, "uses": one.uses, "expires_at": one.exp} |
	some one in trail
	one.uses
] if {
	trail
}

# Everybody through whose hands the chain went, as far as it verifies: subjects and actors, with the domain of each,
# null where it is not known.
default holders := []

holders := [{"issuer": who.iss, "id": who.sub, "domain": domain(who.iss)} |
	some one in known
	some who in [one.sub_id, object.get(one, "act", null)]
	who.iss
] if {
	input.warrant
	not execution.inside
}

known := links if {
	links := authorizing
} else := chain.claims

domain(issuer) := found if {
	found := data.placet_state.trust.issuers[issuer].domain
} else := null
