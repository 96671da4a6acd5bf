# Who may do what with a payment. The verified caller is `data.placet.subject`, never a member of the input.
package payments.authz

default allow := false

allow if {
	granted
	not refused
}

decision := {
	"allow": allow,
	"reasons": reasons,
	"obligations": obligations,
}

team := data.payments.teams[data.placet.subject.id]

granted if {
	input.resource.type == "payment"
	input.action.name in data.payments.grants[team]
}

refused if count(reasons) > 0

reasons contains {
	"code": "not_granted",
	"message": sprintf("%s may not %s a %s", [data.placet.subject.id, input.action.name, input.resource.type]),
} if {
	not granted
}

reasons contains {
	"code": "over_limit",
	"message": "the amount is over the limit for refunds, or its currency has none",
} if {
	granted
	input.action.name == "refund"
	not within_limit
}

within_limit if {
	input.context.amount > 0
	input.context.amount <= data.payments.refund_limit[input.context.currency]
}

# What the caller must do besides: a person reviews the larger refunds afterwards.
obligations contains {"type": "review", "queue": "refunds"} if {
	input.action.name == "refund"
	input.context.amount >= data.payments.review_from
}
