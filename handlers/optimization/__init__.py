"""The closed loop of OPTIMIZE_INFERENCE on this machine: prepare, try, judge, report."""
