"""Deduplication within and across sources."""
