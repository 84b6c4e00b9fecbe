"""The model rebuilt from what the paper prints. `recipe` is the whole of it, `document` makes the artefact of it."""
