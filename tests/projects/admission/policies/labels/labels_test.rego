package kubernetes.labels_test

import data.kubernetes.labels

test_all_labels if count(labels.denials) == 0 with input.request.object.metadata.labels as {"team": "a", "stage": "b"}

test_one_missing if labels.denials == {"the label stage is missing"} with input.request.object.metadata.labels as {"team": "a"}
