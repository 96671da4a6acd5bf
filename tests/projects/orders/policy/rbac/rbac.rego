package orders.rbac

roles_of(user) := {role | some role in data.users[user].roles}

permits(role, action, kind) if {
	some grant in data.roles[role]
	grant.action in {action, "*"}
	kind in grant.kinds
}
