package kubernetes.images_test

import data.kubernetes.images

request(image) := {"request": {
	"kind": {"kind": "Pod"},
	"object": {"spec": {"containers": [{"name": "a", "image": image}]}},
}}

test_a_pinned_image if count(images.denials) == 0 with input as request("registry.example.org/a@sha256:00")

test_a_tag if images.denials == {"registry.example.org/a:1 is named by a tag, which moves"} with input as request("registry.example.org/a:1")

test_another_registry if count(images.denials) == 1 with input as request("docker.example.com/a@sha256:00")
