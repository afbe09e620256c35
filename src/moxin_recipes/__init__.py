"""Recipes that take a language model from raw text to a released reasoning model."""

__version__ = "0.1.0"
