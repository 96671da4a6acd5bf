package kubernetes.admission_test

import data.kubernetes.admission

pod := {"request": {
	"kind": {"kind": "Pod"},
	"object": {
		"metadata": {"labels": {"team": "a", "stage": "b"}},
		"spec": {"hostNetwork": true, "containers": [{"image": "registry.example.org/a@sha256:00"}]},
	},
}}

test_the_hosts_network if {
	admission.decision.allow == false with input as pod
	admission.decision.reasons == [{
		"code": "kubernetes.denied",
		"message": "the host's network is not for pods",
	}] with input as pod
}

test_a_good_pod if {
	admission.decision == {"allow": true, "reasons": []} with input as json.remove(pod, ["request/object/spec/hostNetwork"])
}
