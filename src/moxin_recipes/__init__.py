"""Recipes that take a language model from raw text to a released reasoning model."""

from moxin_recipes import environment

__version__ = "0.1.0"

environment.choose()
