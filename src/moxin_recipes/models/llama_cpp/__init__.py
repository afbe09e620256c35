"""GGUF, the file that llama.cpp reads: the tokenizer, the weights, the branch of a repository."""
