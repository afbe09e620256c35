"""The stages: each reads from top to bottom and is launched as `-m moxin_recipes.stages.NAME`."""
