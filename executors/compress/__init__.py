"""Makes smaller models: a model file and a weight format in, an artifact with its manifest out."""
