"""What every job that measures on this machine works with: tools, texts, weights, the judge, the load."""
