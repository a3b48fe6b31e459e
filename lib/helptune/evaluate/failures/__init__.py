"""Where does it fail? A small taxonomy, a detector for each kind, their measured error, and what they leave over."""
