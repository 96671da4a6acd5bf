package kubernetes_admission.authz_test

import data.kubernetes_admission.authz

image := sprintf("registry.example.org/shop@sha256:%s", [concat("", [x | some _ in numbers.range(1, 64); x := "a"])])

good := {
	"name": "shop",
	"image": image,
	"securityContext": {"runAsNonRoot": true},
	"resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
}

decide(operation, kind, spec) := decision if {
	decision := authz.decision with data.placet.subject as {"id": "api-server", "issuer": "test"}
		with input as {
			"action": {"name": operation},
			"resource": {"type": kind, "id": "shop/shop"},
			"context": {"object": {"spec": spec}},
		}
}

codes(decision) := {reason.code | some reason in decision.reasons}

with_container(change) := {"containers": [object.union(good, change)]}

test_a_good_pod_enters if {
	decide("CREATE", "Pod", {"containers": [good]}).allow
}

test_a_good_deployment_enters if {
	decide("UPDATE", "Deployment", {"template": {"spec": {"containers": [good]}}}).allow
}

test_anything_of_a_known_kind_may_be_deleted if {
	decide("DELETE", "Pod", {}).allow
}

test_another_kind_is_denied if {
	codes(decide("CREATE", "ClusterRole", {"containers": [good]})) == {"kind_not_covered", "no_containers"}
}

test_the_hosts_network_is_denied if {
	codes(decide("CREATE", "Pod", {"containers": [good], "hostNetwork": true})) == {"host_namespace"}
}

test_a_privileged_container_is_denied if {
	spec := with_container({"securityContext": {"privileged": true}})
	codes(decide("CREATE", "Pod", spec)) == {"privileged"}
}

test_a_container_as_root_is_denied if {
	spec := with_container({"securityContext": {"runAsNonRoot": false}})
	codes(decide("CREATE", "Pod", spec)) == {"root_allowed"}
}

test_an_image_by_tag_is_denied if {
	every tagged in ["registry.example.org/shop:1", "registry.example.org/shop@sha256:abc"] {
		codes(decide("CREATE", "Pod", with_container({"image": tagged}))) == {"image_not_pinned"}
	}
}

test_another_registry_is_denied if {
	foreign := replace(image, "registry.example.org/", "registry.example.org.evil.example/")
	codes(decide("CREATE", "Pod", with_container({"image": foreign}))) == {"registry_not_allowed"}
}

test_a_container_without_limits_is_denied if {
	codes(decide("CREATE", "Pod", with_container({"resources": {"limits": {"cpu": ""}}}))) == {"no_limits"}
}

test_init_containers_are_looked_at_too if {
	bad := object.union(good, {"image": "registry.example.org/init:latest"})
	decision := decide("CREATE", "Pod", {"containers": [good], "initContainers": [bad]})
	codes(decision) == {"image_not_pinned"}
}
