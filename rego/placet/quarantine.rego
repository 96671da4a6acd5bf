# Who and what is denied everything. Each check is written positively: a list of the wrong form clears nobody.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.quarantine

import data.placet.execution
import data.placet.identity
import data.placet.segment
import data.placet.warrant

# The reason codes of what failed, in the order of the table; none when everybody is clear. Without a verified subject
# there is nobody to look up; that denies by itself.
failures := [code | some code in order; code in found]

order := [
	"quarantine.malformed",
	"quarantine.subject",
	"quarantine.actor",
	"quarantine.domain",
	"quarantine.execution",
	"quarantine.segment",
]

lists := data.placet_state.trust.quarantine

found contains "quarantine.malformed" if not well_formed

found contains "quarantine.subject" if standing(identity.subject) == "quarantined"

found contains "quarantine.actor" if {
	some other in others
	standing(other) == "quarantined"
}

found contains "quarantine.domain" if {
	some domain in domains
	object.get(lists.domains, domain, set()) != set()
}

found contains "quarantine.execution" if {
	object.get(lists.executions, input.execution.id, set()) != set()
	not execution.stopped
}

# In quarantine when the execution was stopped, and not any more.
found contains execution.stopped

found contains "quarantine.segment" if {
	some name in segment.names
	object.get(lists.segments, name, set()) != set()
}

well_formed if {
	is_object(lists.subjects)
	is_object(lists.executions)
	is_object(lists.domains)
	is_object(lists.segments)
	is_array(segment.names)
	is_array(others)
	is_array(domains)
	every one in array.concat(others, asking) {
		standing(one) in {"clear", "quarantined"}
	}
}

# How somebody stands: clear, quarantined, or undefined when the list cannot say.
standing(one) := "clear" if {
	of_issuer := object.get(lists.subjects, one.issuer, {})
	is_object(of_issuer)

	# A set is what no JSON document holds, so any entry at all, also `null` or `false`, means quarantined.
	object.get(of_issuer, one.id, set()) == set()
} else := "quarantined" if {
	is_object(lists.subjects[one.issuer])
}

asking := [identity.subject | identity.subject]

# Everybody else on whom the request depends: actors, who forwarded or asserted the subject, holders of warrants.
others := [{"issuer": issuer, "id": id} |
	some [issuer, id] in execution.token.principals
	{"issuer": issuer, "id": id} != object.filter(identity.subject, ["issuer", "id"])
] if {
	execution.inside
} else := array.concat(acting, warrant.holders)

acting := [one |
	some subject in asking
	some one in array.concat(subject.actors, [via | via := subject.via])
]

# An actor is of the subject's domain, or its token would not count.
domains := [domain | some domain in execution.token.domains] if {
	execution.inside
} else := array.flatten([
	[subject.domain | some subject in asking],
	[identity.domain_of(subject.via.issuer) | some subject in asking],
	[holder.domain | some holder in warrant.holders],
	# Who issued the first warrant of the chain.
	[domain | domain := data.placet_state.trust.warrant.issuers[warrant.granted.issuer].domain],
])
