# Which tools an AI agent may call, and with which arguments. The host asks before each call: the action is the
# tool, the resource what it works on, the context its arguments.
package agent_tools.authz

decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"obligations": obligations,
}

default agent := {"tools": [], "hosts": [], "directories": []}

agent := data.agent_tools.agents[data.placet.subject.id]

reasons contains {
	"code": "tool_not_granted",
	"message": sprintf("%s may not call %s", [data.placet.subject.id, input.action.name]),
} if {
	not input.action.name in agent.tools
}

reasons contains {"code": "host_not_granted", "message": "the agent may not reach this host over HTTPS"} if {
	input.action.name == "web.fetch"
	not host_granted
}

reasons contains {"code": "path_not_granted", "message": "the file is outside of the agent's directories"} if {
	startswith(input.action.name, "files.")
	not path_granted
}

# The host compares whole: a port, a user name or a longer domain is another host.
host_granted if {
	input.resource.type == "url"
	parts := split(input.resource.id, "/")
	parts[0] == "https:"
	parts[2] in agent.hosts
}

path_granted if {
	input.resource.type == "file"
	strings.any_prefix_match(input.resource.id, agent.directories)
	not contains(input.resource.id, "..")
}

# A person approves before anything is written.
obligations contains {"type": "approval", "by": "owner"} if input.action.name == "files.write"
