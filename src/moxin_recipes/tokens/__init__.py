"""Turns documents into shards of tokens, and gives the order in which training reads them."""
