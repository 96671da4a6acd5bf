# Which rows and columns of a table somebody may see. The action is "select", the resource
# {"type": "table", "id": name}. The verdict alone is not enough: obligations say what the data service must add to
# the query, and leave out.
package data_filter.authz

# METADATA
# entrypoint: true
decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"obligations": obligations,
}

default person := {"teams": [], "clearance": 0}

person := data.data_filter.people[data.placet.subject.id]

default table := {}

table := data.data_filter.tables[input.resource.id] if input.resource.type == "table"

reasons contains {"code": "action_not_covered", "message": "only select is decided here"} if {
	input.action.name != "select"
}

reasons contains {"code": "table_unknown", "message": "there is no rule for this table"} if {
	table == {}
}

reasons contains {"code": "nothing_to_see", "message": "the caller is in no team, so that no row is theirs"} if {
	count(person.teams) == 0
}

# Only rows of the caller's own teams: WHERE column IN (values).
obligations contains {"type": "filter", "column": table.team_column, "in": person.teams}

# Columns above the caller's clearance are left out of the answer.
obligations contains {"type": "mask", "fields": hidden} if {
	hidden := sort([column | some column, level in table.columns; level > person.clearance])
	count(hidden) > 0
}

obligations contains {"type": "limit", "name": "rows", "to": table.max_rows}
