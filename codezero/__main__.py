"""``python -m codezero``."""

from codezero.cli import main

if __name__ == "__main__":
    main()
