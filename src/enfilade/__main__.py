"""`python -m enfilade`: the command, where no script of that name is to be found."""

from enfilade.cli import main

if __name__ == "__main__":
    main()
