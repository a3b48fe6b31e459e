"""What is right in each notebook's exercises, and which mistakes its checks know by name. One file a notebook."""
