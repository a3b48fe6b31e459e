"""`python -m helptune` is the `helptune` command."""

from helptune.cli import start

if __name__ == "__main__":
    start()
