"""A folder of recipes: in which order, what is done, what runs, what is shown of it."""
