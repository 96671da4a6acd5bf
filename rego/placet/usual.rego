# The usual requests, proven in as few expressions as will do: each costs every decision about a microsecond. Whatever
# does not pass here goes through the checks themselves; the tests show that nothing else passes.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.usual

import data.placet.clock
import data.placet.execution
import data.placet.identity
import data.placet.scope
import data.placet.single

# What a request that stands rests on. Undefined for all but the usual requests.
grounds := {
	"subject": {"issuer": token.sub_iss, "id": token.sub, "domain": token.domain, "actors": []},
	"warrant": warranted,
	"execution": token.exe,
	"until_ns": min([data.placet_state.lease.valid_until_ns, token.exp * 1000000000]),
} if {
	count(input) == 4
	token := execution.token
	plain
	count(input.execution) == 2
	token.exe == input.execution.id
	token.exe != ""
	data.placet_state.trust.issuers[token.sub_iss].domain == data.placet_state.trust.domain
	token.actors == []
	not token.via
	warranted := carried(token)
} else := {
	"subject": {"issuer": subject.issuer, "id": subject.id, "domain": subject.domain, "actors": []},
	"warrant": null,
	"execution": null,
	"until_ns": min([data.placet_state.lease.valid_until_ns, floor(subject.claims.exp) * 1000000000]),
} if {
	count(input) == 4
	subject := identity.usual
	plain
	count(input.identity) == 1
	data.placet_state.trust.warrant.required == false
} else := {
	"subject": {"issuer": subject.issuer, "id": subject.id, "domain": subject.domain, "actors": []},
	"warrant": {"ids": [granted.jti], "issuer": granted.iss},
	"execution": null,
	"until_ns": min([
		data.placet_state.lease.valid_until_ns,
		floor(min([subject.claims.exp, granted.exp])) * 1000000000,
	]),
} if {
	count(input) == 5
	granted := single.warrant
	subject := identity.usual
	plain
	count(input.identity) == 1
}

# The warrants that an execution was started with, which must not have been revoked since, and their scope.
carried(token) := null if {
	token.warrants == []
	data.placet_state.trust.warrant.required == false
} else := {"ids": token.warrants, "issuer": token.warrant_issuer} if {
	token.warrants != []
	data.placet_state.trust.warrant.revoked == {}
	scope.covers(token, input)
}

# What holds for every usual request.
plain if {
	# Subtraction is defined for numbers alone, so these are numbers, and the comparisons mean what they say.
	lease := data.placet_state.lease
	lease.valid_until_ns - lease.issued_at_ns <= 3600000000000
	now := clock.now
	lease.issued_at_ns <= now
	now <= lease.valid_until_ns

	# `concat` is defined for strings alone.
	is_object(input.context)
	names := [input.action.name, input.resource.type, input.resource.id, data.placet_state.digest]
	concat("", names)
	min(names) != ""

	# Nobody is in quarantine, nothing is segmented, and nothing of the environment is demanded.
	data.placet_state.trust.quarantine == {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
	data.placet_state.trust.environment.required == {}
	data.placet_state.trust.segments == null
}
