"""What a recipe may say, and what its keys mean."""
