package kubernetes.images

import data.lib.workloads

denials contains message if {
	some container in workloads.containers
	not from_a_trusted_registry(container.image)
	message := sprintf("%v comes from no registry that is trusted", [container.image])
}

denials contains message if {
	some container in workloads.containers
	not contains(container.image, "@sha256:")
	message := sprintf("%v is named by a tag, which moves", [container.image])
}

from_a_trusted_registry(image) if strings.any_prefix_match(image, data.kubernetes.registries)
