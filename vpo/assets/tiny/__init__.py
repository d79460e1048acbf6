"""Small random models of the true classes, for tests and for trying a config without weights: nothing is downloaded.

A module a kind of model (pipelines, vision, vlm). Each has `MODELS`, by name the function that writes the model into a folder, in
the layout that the hub's own has, so that the same code loads both.
"""
