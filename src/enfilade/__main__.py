"""`python -m enfilade`: the command line, where the script `enfilade` is not on the path."""

from enfilade.cli import main

if __name__ == "__main__":
    main()
