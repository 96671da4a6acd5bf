# METADATA
# title: Orders
# description: Who may do what with an order.
package orders.authz

import data.orders.lib.times
import data.orders.rbac

default allow := false

# METADATA
# description: The one answer that services ask for.
# entrypoint: true
allow if {
	some role in rbac.roles_of(input.user)
	rbac.permits(role, input.action, input.order.kind)
	not blocked
}

blocked if input.order.total > data.limits.total

blocked if {
	input.action == "cancel"
	times.hours_since(input.order.placed) > data.limits.cancel_hours
}
