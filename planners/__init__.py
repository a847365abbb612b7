"""Pure thought: request and facts in, plan out. No I/O besides shipped data files, no clock, no unseeded randomness."""
