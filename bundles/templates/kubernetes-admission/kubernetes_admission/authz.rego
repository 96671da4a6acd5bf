# Which objects may enter a Kubernetes cluster. The action is the operation (CREATE, UPDATE, DELETE), the resource the
# object {"type": kind, "id": "namespace/name"}, and context.object what the API server sent for review.
package kubernetes_admission.authz

# METADATA
# entrypoint: true
decision := {
	"allow": count(reasons) == 0,
	"reasons": reasons,
	"obligations": [],
}

reasons contains {"code": "kind_not_covered", "message": "no rule here covers this kind of object"} if {
	not input.resource.type in {"Pod", "Deployment", "StatefulSet", "DaemonSet", "Job"}
}

reasons contains {"code": "no_containers", "message": "the object names no containers"} if {
	creates
	count(containers) == 0
}

reasons contains {"code": "host_namespace", "message": "a pod may not use the host's network, processes or IPC"} if {
	creates
	some member in ["hostNetwork", "hostPID", "hostIPC"]
	object.get(pod, member, false) != false
}

reasons contains violation("privileged", container) if {
	some container in containers
	object.get(container, ["securityContext", "privileged"], false) != false
}

reasons contains violation("root_allowed", container) if {
	some container in containers
	object.get(container, ["securityContext", "runAsNonRoot"], false) != true
}

reasons contains violation("image_not_pinned", container) if {
	some container in containers
	not pinned(container)
}

reasons contains violation("registry_not_allowed", container) if {
	some container in containers
	not from_allowed_registry(container)
}

reasons contains violation("no_limits", container) if {
	some container in containers
	some resource in ["cpu", "memory"]
	object.get(container, ["resources", "limits", resource], "") == ""
}

creates if input.action.name in {"CREATE", "UPDATE"}

# A workload carries its pod in a template.
default pod := {}

pod := input.context.object.spec if {
	creates
	input.resource.type == "Pod"
}

pod := input.context.object.spec.template.spec if {
	creates
	input.resource.type != "Pod"
}

containers := [container |
	some member in ["initContainers", "containers", "ephemeralContainers"]
	some container in object.get(pod, member, [])
]

pinned(container) if {
	digest := split(container.image, "@sha256:")[1]
	count(digest) == 64
}

from_allowed_registry(container) if {
	strings.any_prefix_match(container.image, data.kubernetes_admission.registries)
}

violation(code, container) := {"code": code, "message": message} if {
	name := object.get(container, "name", "a container")
	message := sprintf("%s: %s", [name, data.kubernetes_admission.messages[code]])
}
