"""Turns conversations and preference pairs into the rows that training reads."""
