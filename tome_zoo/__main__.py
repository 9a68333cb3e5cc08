"""`python -m tome_zoo`: the command line."""

from tome_zoo.commands.app import main

if __name__ == "__main__":
    main()
