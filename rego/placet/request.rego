# What is asked: action, resource and context as in AuthZEN 1.0, and what may stand beside them.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.request

import data.placet.execution as starting

# The reason codes of what failed, none when the request is well formed.
default failures := ["request.malformed"]

failures := [] if {
	# A member that Placet does not know could be a misspelt one, and must not be ignored in silence.
	rare_well_formed(object.remove(input, ["identity", "action", "resource", "context"]))

	# `concat` is defined for strings alone.
	names := [input.action.name, input.resource.type, input.resource.id]
	concat("", names)
	not "" in names
	is_object(object.get(input, "context", {}))
}

rare_well_formed(rare) if {
	rare == {}
} else if {
	object.remove(rare, ["warrant", "proof", "environment", "execution"]) == {}
	is_array(object.get(rare, "warrant", []))
	is_string(object.get(rare, "proof", ""))
	results := object.get(rare, "environment", [])
	is_array(results)
	count(results) <= 4
	execution := object.get(rare, "execution", {"id": "none"})
	object.remove(execution, ["id", "token", "step", "parent"]) == workflow(execution)
	is_string(execution.id)
	execution.id != ""
}

# The workflow that an execution names as it is about to start: the agent alone can ask so.
workflow(execution) := {} if {
	not starting.starting
} else := {"workflow": execution.workflow} if {
	is_string(execution.workflow)
} else := {}
