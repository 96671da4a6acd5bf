# Declared workflows: what may be done only by an execution that follows one of those that demand it. The agent holds
# each step against the layout; here counts which workflow the execution's token names.

# METADATA
# scope: package
# schemas:
# - input: schema.input
# - data.placet_state: schema.state
package placet.workflow

import data.placet.execution
import data.placet.scope

# The reason codes of what failed; none where nothing is demanded, or what is demanded is followed.
default failures := ["workflow.required"]

failures := [] if {
	data.placet_state.trust.workflows == {}
} else := [] if {
	demanding == []
} else := [] if {
	followed in demanding
}

# The names of the workflows that demand to be followed for this request. A list of another form demands nothing, and
# is no answer: so this is undefined for it.
demanding := [name | some name, one in workflows; demands(one)] if {
	workflows := data.placet_state.trust.workflows
	is_object(workflows)
	every one in workflows {
		is_array(one.actions)
		is_array(one.resources)
	}

	# Nothing that is no text could be compared.
	concat("", [input.action.name, input.resource.type, input.resource.id])
}

demands(one) if {
	scope.matches(one.actions, input.action.name)
	concerned(one.resources)
}

concerned(resources) if {
	scope.resource_covered(resources, input.resource)
} else if {
	# With a slash in its type it could be read in two ways: then the resource is of every kind.
	contains(input.resource.type, "/")
}

# The workflow that the execution follows: by its verified token, or as it is about to start, when the agent says it.
followed := input.execution.workflow if {
	execution.starting
} else := execution.token.workflow
