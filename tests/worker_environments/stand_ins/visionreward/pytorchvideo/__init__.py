"""Stands in for pytorchvideo, which the worker's check imports."""
