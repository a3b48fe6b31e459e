"""Side by side: two runs or more on the same items."""
