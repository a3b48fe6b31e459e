"""A whole run, from configuration to report, as one directory."""
