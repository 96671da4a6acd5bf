# What each warrant must show for itself, to its holder, and to the one before it. All of them are verified before.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.hop

import data.placet.chain
import data.placet.clock
import data.placet.identity
import data.placet.scope
import data.placet.state

# What a warrant must show for itself.
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
	# The start of an execution is about to count them.
	data.placet.warrant.redeemed == true
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
	object.get(child, "approval", null) == null # which roots alone name: nobody approved what is delegated
	child.exp <= parent.exp
	object.get(child, "nbf", 0) >= object.get(parent, "nbf", 0)
	every audience in chain.audiences(child) {
		audience in chain.audiences(parent)
	}
	scope.narrower(reach(child), reach(parent))
}

# What a warrant allows.
reach(one) := {
	"actions": one.actions,
	"resources": one.resources,
	"constraints": object.get(one, "constraints", {}),
}
