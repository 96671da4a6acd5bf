package terraform

import data.terraform.aws.buckets
import data.terraform.cost

default allow := false

allow if {
	count(buckets.open) == 0
	count(data.plan.destroyed) == 0
	cost.monthly <= data.budget
}
