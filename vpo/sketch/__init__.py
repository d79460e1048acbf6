"""The embedded world: a grammar of scenes, a procedural video model and a reader of its clips. No GPU, no weights."""
