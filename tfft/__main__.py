"""Lets `python -m tfft` do what the command `tfft` does."""

from tfft.cli.app import main

if __name__ == "__main__":
    main()
