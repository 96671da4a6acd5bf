# The usual denials: the caller's token does not hold, or its warrant does not, and nothing else can be wrong. The checks
# themselves would say the same; this way a denial costs no more than an allow. The tests show that nothing else is said.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.refusal

import data.placet.calm
import data.placet.chain
import data.placet.execution
import data.placet.identity
import data.placet.objection
import data.placet.token
import data.placet.usual
import data.placet.warrant

# What failed, as reason codes; and of whom it is known who asks, by which warrants, in which execution. Undefined for whatever may have
# other reasons, too.
found := {"codes": codes, "subject": null, "warrant": null, "execution": null} if {
	object.remove(input, ["identity", "action", "resource", "context"]) == {}
	object.remove(input.identity, ["token"]) == {}
	data.placet_state.trust.warrant.required == false
	nothing_demanded

	# Nobody asks, so nobody is in quarantine, or in a segment, or let through by a mode.
	codes := unidentified
	codes != []
} else := {"codes": codes, "subject": object.remove(subject, ["claims"]), "warrant": null, "execution": null} if {
	object.remove(input, ["identity", "action", "resource", "context"]) == {"warrant": input.warrant}
	is_array(input.warrant)
	subject := identity.usual
	count(input.identity) == 1
	nothing_demanded
	at_home
	codes := objected
	codes != []
} else := object.union(asker, {"codes": codes}) if {
	count(input) == 4
	object.remove(input.execution, ["id", "token"]) == {}
	is_string(input.execution.id)
	input.execution.id != ""
	count(input.execution.id) <= 64
	input.execution.token
	nothing_demanded
	at_home
	asker := executing
	codes := execution.failures
	codes != []
}

# The execution's token says who asks, when it holds; alone and at home, so that nobody else has to be looked up.
executing := {"subject": null, "warrant": null, "execution": null} if {
	not execution.token
} else := {
	"subject": {"id": held.sub, "issuer": held.sub_iss, "domain": held.domain, "actors": []},
	"warrant": carried,
	"execution": same,
} if {
	held := execution.token
	held.actors == []
	object.filter(held, ["asserted", "via"]) == {}
	held.principals == [[held.sub_iss, held.sub]]
	data.placet_state.trust.issuers[held.sub_iss].domain == data.placet_state.trust.domain
}

default same := null

same := execution.token.exe if execution.token.exe == input.execution.id

default carried := null

carried := {"ids": execution.token.warrants, "issuer": execution.token.warrant_issuer} if {
	execution.token.warrants != []
}

unidentified := token.failures if {
	token.failures != []
} else := identity.failures

objected := objection.codes if {
	count(chain.claims) == 1
} else := warrant.failures

nothing_demanded if {
	calm.standing
} else if {
	usual.plain
	data.placet_state.trust.quarantine == {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
	data.placet_state.trust.environment.required == {}
}

# Nobody crosses a boundary, and nothing is lifted.
at_home if {
	data.placet_state.trust.segments == null
	data.placet_state.trust.modes.break_glass == []
}
