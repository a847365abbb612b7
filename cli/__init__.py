"""The front door: wires the rest together. The only package that imports all the others."""
