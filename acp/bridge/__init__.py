"""The HTTP door: the same intake, answers and headers as on NATS."""
