"""Makes models from other models or files, and checks that saved weights are complete."""
