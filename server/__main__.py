"""`python -m server`: see cli."""

from server.cli import main

if __name__ == "__main__":
    main()
