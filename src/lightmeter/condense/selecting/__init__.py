"""Ways to condense that keep pictures of the set, or average them: each a file."""
