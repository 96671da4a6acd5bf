package terraform.cost

import data.plan

monthly := sum([price |
	some change in plan.created
	price := data.prices[change.type]
])
