"""The conversations written for this course (Apache-2.0), one file a category; see data_cards/curated.md."""
