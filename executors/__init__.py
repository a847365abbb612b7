"""All side effects: toolchains, compress, serve, measure, deploy. Imports schemas only."""
