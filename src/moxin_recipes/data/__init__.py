"""Documents, problems, tokens and the order in which training reads them."""
