"""Filters of documents, by the names that recipes use."""
