"""Hand-over: what a plan or a run leaves for whoever operates the result."""
