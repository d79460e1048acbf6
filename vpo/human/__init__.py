"""Clips judged by people: a page on which they are compared without their methods' names, and what was voted there."""
