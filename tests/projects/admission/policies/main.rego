package kubernetes.admission

# METADATA
# entrypoint: true
decision := {"allow": count(denials) == 0, "reasons": [
{"code": "kubernetes.denied", "message": message} |
	some message in denials
]}

denials := (data.kubernetes.images.denials | data.kubernetes.labels.denials) | data.kubernetes.network.denials
