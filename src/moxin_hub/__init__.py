"""A small, sound Hugging Face Hub for one machine: git repositories and big files over HTTP."""
