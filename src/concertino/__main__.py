"""`python -m concertino` is `concertino`."""

from concertino.cli import main

if __name__ == "__main__":
    main()
