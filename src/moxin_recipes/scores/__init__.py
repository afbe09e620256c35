"""Held-out scores of models."""
