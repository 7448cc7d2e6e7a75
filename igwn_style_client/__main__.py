"""``python -m igwn_style_client``: the command line."""

from .cli import main

if __name__ == "__main__":
    main()
