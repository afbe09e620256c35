"""Conversations and preference pairs as what training reads."""
