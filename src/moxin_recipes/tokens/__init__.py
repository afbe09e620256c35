"""Documents as tokens in shards, and the order in which training reads them."""
