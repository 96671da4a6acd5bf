package lib.workloads

pods contains input.request.object.spec if input.request.kind.kind == "Pod"

pods contains input.request.object.spec.template.spec if input.request.kind.kind in {"Deployment", "StatefulSet"}

containers contains container if {
	some pod in pods
	some container in object.union({"initContainers": []}, pod)[part]
	part in {"containers", "initContainers"}
}
