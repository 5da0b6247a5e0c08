"""Other libraries' indexes behind our protocol: the peers, each honest about what it can do."""
