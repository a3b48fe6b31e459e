"""Statistics of an evaluation: intervals, paired differences, families of tests, power. After Miller 2024."""
