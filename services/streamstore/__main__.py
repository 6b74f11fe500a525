"""`python -m streamstore`: the command `streamstore`."""

from streamstore.cli import main

if __name__ == "__main__":
    main()
