"""Scripts that run in an environment of their own: jobs.jsonl in, results.jsonl out."""
