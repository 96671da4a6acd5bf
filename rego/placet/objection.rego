# What is wrong with a chain of warrants, for a denial: everything that can be told apart. Nothing is allowed because
# nothing is found here.

# METADATA
# scope: package
# schemas:
# - input: schema.input
package placet.objection

import data.placet.chain
import data.placet.hop
import data.placet.proof
import data.placet.scope

# The reason codes, in the order of the table.
codes := [code | some code in unverifiable] if {
	# Of what does not verify at all nothing else can be said.
	verified == []
	count(unverifiable) == 1
} else := [code | some code in found] if {
	count(found) <= 1
} else := [code | some code in order; code in found]

unverifiable := chain.faults | {code | some code in proof.failures}

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

found contains code if some code in unverifiable

found contains "warrant.malformed" if {
	chain.verified
	count({one.jti | some one in chain.claims}) != count(chain.claims)
}

found contains "warrant.audience" if {
	some one in verified
	not hop.for_this_system(one)
}

found contains "warrant.expired" if {
	some one in verified
	not hop.unexpired(one)
}

found contains "warrant.not_yet_valid" if {
	some one in verified
	not hop.begun(one)
}

found contains "warrant.domain" if {
	some one in verified
	not hop.linked(one)
}

found contains "warrant.revoked" if {
	some one in verified
	not hop.unrevoked(one)
}

found contains "warrant.needs_execution" if {
	some one in verified
	not hop.counted(one)
}

found contains "warrant.subject" if {
	some [parent, child] in hops
	not hop.passed_on(parent, child)
}

found contains "warrant.widened" if {
	some [parent, child] in hops
	not hop.narrower(parent, child)
}

found contains "warrant.depth" if {
	some [parent, child] in hops
	not hop.shallower(parent, child)
}

# One that was not to be delegated was, whether or not what follows verifies.
found contains "warrant.depth" if {
	some position, one in chain.claims
	position < count(chain.claims) - 1
	object.get(one, "depth", 0) == 0
}

found contains "warrant.subject" if {
	chain.verified
	not hop.held(chain.last)
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
action_covered if scope.matches(chain.last.actions, input.action.name)

resource_covered if scope.resource_covered(chain.last.resources, input.resource)

constraints_met if scope.constraints_met(hop.reach(chain.last).constraints, object.get(input, "context", {}))

verified := [one | some one in chain.claims; one != null]

# Each delegation that verifies, as its parent and its child.
hops := [[parent, child] |
	some position, child in verified
	position > 0
	parent := verified[position - 1]
]
