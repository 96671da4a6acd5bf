package terraform.aws.buckets

import data.plan

open contains change.address if {
	some change in plan.created
	change.type == "aws_s3_bucket"
	change.change.after.acl in {"public-read", "public-read-write"}
}
