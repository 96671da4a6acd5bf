# Who may call which route of an HTTP API. The action is the method, the resource {"type": "route", "id": path}.
# The verified caller is data.placet.subject, never a member of the input.
package http_api.authz

# METADATA
# entrypoint: true
decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"obligations": obligations,
}

reasons contains {"code": "unknown_caller", "message": "the caller has no role here"} if {
	count(roles) == 0
}

reasons contains {"code": "route_not_granted", "message": "no role of the caller may do this on the route"} if {
	count(roles) > 0
	not granted
}

# Personal data stays out of answers to those who need not see it.
obligations contains {"type": "mask", "fields": fields} if {
	fields := data.http_api.personal_fields
	not "support" in roles
}

default roles := []

roles := data.http_api.roles[data.placet.subject.id]

granted if {
	input.resource.type == "route"
	some role in roles
	some grant in data.http_api.grants[role]
	input.action.name in grant.methods
	matches(input.resource.id, grant.route)
}

# Segment by segment: {name} stands for any one segment, and nothing stands for several.
matches(path, route) if {
	actual := split(path, "/")
	wanted := split(route, "/")
	count(actual) == count(wanted)
	every position, segment in wanted {
		fits(actual[position], segment)
	}
}

fits(actual, wanted) if actual == wanted

fits(actual, wanted) if {
	startswith(wanted, "{")
	not actual in {"", ".", ".."}
}
