"""Stands in for the repository of Open-Sora 1.2: the names that the worker's script uses, on tiny tensors."""
