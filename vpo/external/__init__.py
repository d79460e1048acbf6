"""What others made: prompts and clips from outside of a run, read, matched to their queries and written for others."""
