package terraform_test

bucket(acl) := {"resource_changes": [{
	"address": "aws_s3_bucket.a",
	"type": "aws_s3_bucket",
	"change": {"actions": ["create"], "after": {"acl": acl}},
}]}

test_a_private_bucket if data.terraform.allow with input as bucket("private")

test_an_open_bucket if not data.terraform.allow with input as bucket("public-read")

test_nothing_is_destroyed if {
	not data.terraform.allow with input as {"resource_changes": [{"change": {"actions": ["delete"]}}]}
}

test_the_budget if {
	many := {"resource_changes": [{"type": "aws_db_instance", "change": {"actions": ["create"], "after": {}}} | some _ in numbers.range(1, 4)]}
	data.terraform.cost.monthly == 90 with input as many
}
