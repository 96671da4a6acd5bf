package kubernetes.network

denials contains "the host's network is not for pods" if {
	some pod in data.lib.workloads.pods
	pod.hostNetwork
}
