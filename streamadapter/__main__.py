"""`python -m streamadapter`: the command `streamadapter`."""

from streamadapter.cli import main

if __name__ == "__main__":
    main()
