"""What is trained: small matrices beside the frozen base."""
