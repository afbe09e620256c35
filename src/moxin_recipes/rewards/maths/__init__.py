"""Whether a mathematical answer is the right one: found, read in one notation, compared."""
