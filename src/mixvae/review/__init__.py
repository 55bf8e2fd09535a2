"""What is asked of finished results: whether they hold, where they come from, what they say, and whether they come out again."""
