# Which segments the request goes from and to, and whether a flow lets it. Where nothing is segmented, the trust boundary
# alone counts: nobody of a foreign domain crosses it without a flow.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.segment

import data.placet.identity
import data.placet.scope

# The reason codes of what is wrong, in the order of the table.
default failures := ["segment.unknown"]

failures := [] if {
	# What most requests are: to compare is cheaper than to look everybody up.
	segments == null
	identity.subject.actors == []
	at_home(identity.subject)
} else := [] if {
	segments == null
	strangers == []
} else := ["segment.boundary"] if {
	segments == null
} else := [] if {
	let_through(identity.subject)
	every stranger in strangers {
		flows(stranger)
	}
} else := explained if {
	explained != []
}

segments := data.placet_state.trust.segments

# The segments that the request touches, for quarantine: the subject's, its actors' and the resource's.
default names := []

names := array.concat([source(one) | some one in everybody], [segment | segment := target]) if {
	is_object(segments)
}

# Who asks: the verified subject and the actors on its behalf. Nobody, without a subject: that denies by itself.
default everybody := []

everybody := array.concat([identity.subject], object.get(identity.subject, "actors", []))

# Those of another trust domain, or of one that is not known.
strangers := [one |
	some one in everybody
	not at_home(one)
]

at_home(one) if data.placet_state.trust.issuers[one.issuer].domain == data.placet_state.trust.domain

# Within a segment no flow is needed.
let_through(one) if {
	source(one) == target
} else if {
	flows(one)
}

# Whether a flow from the segment of `one` to the resource's covers the action.
flows(one) if scope.matches(segments.flows[source(one)][target], input.action.name)

# The segment of a subject: by its exact name, or else by the longest prefix, which stands first.
source(one) := segment if {
	segment := segments.subjects[one.issuer][one.id]
} else := [entry.segment |
	some entry in segments.subject_prefixes[one.issuer]
	startswith(one.id, entry.prefix)
][0]

# The segment of the resource, likewise. With a slash in its type it could be read in two ways, so it is in none.
target := segment if {
	contains(input.resource.type, "/") == false
	segment := placed(concat("/", [input.resource.type, input.resource.id]))
}

placed(resource) := segment if {
	segment := segments.resources[resource]
} else := [entry.segment |
	some entry in segments.resource_prefixes
	startswith(resource, entry.prefix)
][0]

# What is wrong, for a denial.

explained := [code | some code in ["segment.unknown", "segment.flow", "segment.boundary"]; code in found]

found contains "segment.unknown" if not target

found contains "segment.unknown" if {
	some one in array.concat([identity.subject], strangers)
	not source(one)
}

found contains "segment.flow" if {
	source(identity.subject) != target
	not flows(identity.subject)
}

found contains "segment.boundary" if {
	some one in strangers
	not flows(one)
}
