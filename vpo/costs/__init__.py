"""What a run will cost before anything of it runs: items, time, bytes, tokens and money of each stage, by arithmetic."""
