"""Who critiques and refines prompts."""
