"""Judges that are machines: which of two answers do they find better, and how far can one believe them?"""
