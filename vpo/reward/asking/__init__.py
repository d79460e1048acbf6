"""What rewards that ask a vision-language model are made of: the model, its way of reading a clip, its answers."""
