# The usual requests: in calm times by `calm.rego`, in others here, in few expressions. Whatever does not pass goes through
# the checks themselves; the tests show that nothing else passes.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.usual

import data.placet.calm
import data.placet.environment
import data.placet.execution
import data.placet.identity
import data.placet.scope
import data.placet.segment
import data.placet.single
import data.placet.workflow

# What a request that stands rests on: who asks, as policies and as answers name it; by which warrants, in which execution,
# and until when. Undefined for all but the usual requests.
grounds := calm.grounds if {
	calm.grounds
} else := {
	"caller": execution.subject,
	"subject": {"issuer": token.sub_iss, "id": token.sub, "domain": token.domain, "actors": []},
	"warrant": warranted,
	"execution": token.exe,
	"until_ns": in_place(min([data.placet_state.lease.valid_until_ns, token.exp * 1000000000])),
} if {
	count(input) == 4
	token := execution.token
	plain
	count(input.execution) == 2
	token.exe == input.execution.id
	data.placet_state.trust.issuers[token.sub_iss].domain == data.placet_state.trust.domain
	token.actors == []
	object.filter(token, ["asserted", "via"]) == {}
	depended_on_clear(token)
	warranted := carried(token)
} else := {
	"caller": subject,
	"subject": {"issuer": subject.issuer, "id": subject.id, "domain": subject.domain, "actors": []},
	"warrant": null,
	"execution": null,
	"until_ns": in_place(min([data.placet_state.lease.valid_until_ns, floor(subject.claims.exp) * 1000000000])),
} if {
	not calm.standing
	count(input) == 4
	subject := identity.usual
	plain
	count(input.identity) == 1
	data.placet_state.trust.warrant.required == false
	clear(subject.issuer, subject.id)
} else := {
	"caller": subject,
	"subject": {"issuer": subject.issuer, "id": subject.id, "domain": subject.domain, "actors": []},
	"warrant": {"ids": [granted.jti], "issuer": granted.iss},
	"execution": null,
	"until_ns": in_place(min([
		data.placet_state.lease.valid_until_ns,
		floor(min([subject.claims.exp, granted.exp])) * 1000000000,
	])),
} if {
	not calm.standing
	count(input) == 5
	granted := single.warrant
	subject := identity.usual
	plain
	count(input.identity) == 1
	clear(subject.issuer, subject.id)
}

# The warrants that an execution was started with, which must not have been revoked since, and their scope.
carried(token) := null if {
	token.warrants == []
	data.placet_state.trust.warrant.required == false
	is_object(data.placet_state.trust.warrant.revoked)
	[token.actions, token.resources, token.constraints] == [["*"], ["*"], {}]
} else := {"ids": token.warrants, "issuer": token.warrant_issuer} if {
	token.warrants != []
	revoked := data.placet_state.trust.warrant.revoked
	[id | some id in token.warrants; object.get(revoked, id, set()) == set()] == token.warrants
	scope.covers(token, input)
}

# What holds for every usual request.
plain if {
	calm.leased
	workflow.failures == []
}

# That neither this subject of the home domain nor the execution that the request names is in quarantine.
clear(issuer, id) if {
	data.placet_state.trust.quarantine == {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
} else if {
	# `object.get` is defined for objects alone, so a list of another form clears nobody.
	lists := data.placet_state.trust.quarantine
	object.get(object.get(lists.subjects, issuer, {}), id, set()) == set()
	object.get(lists.domains, data.placet_state.trust.domain, set()) == set()
	object.get(lists.executions, object.get(input, ["execution", "id"], ""), set()) == set()
	lists.segments == {}
}

# That nobody is in quarantine on whom the execution depends: somebody else may, if it depends on nobody but its subject.
depended_on_clear(token) if {
	data.placet_state.trust.quarantine == {"subjects": {}, "executions": {}, "domains": {}, "segments": {}}
} else if {
	token.principals == [[token.sub_iss, token.sub]]
	token.domains == [data.placet_state.trust.domain]
	clear(token.sub_iss, token.sub)
}

# Until when the surroundings let the request pass, at most until `end`.
in_place(end) := end if {
	data.placet_state.trust.environment.required == {}
	data.placet_state.trust.segments == null
} else := min(array.concat([end], [sooner | sooner := environment.expires_at * 1000000000])) if {
	environment.failures == []
	segment.failures == []
	data.placet_state.trust.quarantine.segments == {}
}
