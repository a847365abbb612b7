"""One file per command: what happens when it arrives. Imports schemas, planners and executors."""
