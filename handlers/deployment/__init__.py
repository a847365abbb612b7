"""Production: a rollout step by step, what it is judged on, and how it ends."""
