"""Features → neighbours: exact scans, and what a score means against a null of unrelated queries."""
