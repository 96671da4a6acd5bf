# Which tools an AI agent may call, on what, and when a person must agree. The action is the tool, the resource what it
# works on, the context its arguments. The verified agent is data.placet.subject; whoever it acts for, its actors.
package ai_agent.authz

# METADATA
# entrypoint: true
decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"obligations": obligations,
}

default agent := {"tools": {}, "may_be_delegated": false}

agent := data.ai_agent.agents[data.placet.subject.id]

default tool := {}

tool := agent.tools[input.action.name]

reasons contains {
	"code": "tool_not_granted",
	"message": sprintf("%s may not call %s", [data.placet.subject.id, input.action.name]),
} if {
	tool == {}
}

reasons contains {"code": "resource_not_granted", "message": "the tool may not be used on this resource"} if {
	tool != {}
	not resource_granted
}

reasons contains {"code": "over_budget", "message": "the cost is missing, or above what one call may cost"} if {
	tool != {}
	not within_budget
}

reasons contains {"code": "delegated", "message": "this agent may not be asked by another one"} if {
	count(object.get(data.placet.subject, "actors", [])) > 0
	not agent.may_be_delegated
}

resource_granted if {
	not climbs
	some grant in tool.resources
	input.resource.type == grant.type
	startswith(input.resource.id, grant.prefix)
}

# A path that climbs, or a URL that names a user, is not where it seems to be.
climbs if contains(input.resource.id, "..")

climbs if contains(input.resource.id, "@")

within_budget if {
	input.context.cost >= 0
	input.context.cost <= tool.max_cost
}

obligations contains {"type": "require_approval", "by": tool.approval}

obligations contains {"type": "record", "level": "full"} if tool.approval
