package plan

created contains change if {
	some change in input.resource_changes
	"create" in change.change.actions
}

destroyed contains change if {
	some change in input.resource_changes
	"delete" in change.change.actions
}
