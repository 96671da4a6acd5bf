package kubernetes.labels

denials contains message if {
	some label in data.kubernetes.labels_wanted
	not input.request.object.metadata.labels[label]
	message := sprintf("the label %v is missing", [label])
}
