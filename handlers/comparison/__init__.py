"""What COMPARE_STRATEGIES does: forms made and judged, rounds of load, pairs."""
