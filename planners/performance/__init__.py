"""How fast a layout runs: physics calibrated on published measurements, and better sources where there are any."""
