"""datatrove blocks for what datatrove lacks; they import neither torch nor transformers."""
