"""Did it help? Losses, answers and what they show."""
