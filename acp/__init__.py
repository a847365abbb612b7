"""The Agent *Coordination* Protocol: the wire and the life of a message. Imports schemas only."""
