"""Files that are too large for this repository, such as model weights: where they come from, and getting and checking them."""
