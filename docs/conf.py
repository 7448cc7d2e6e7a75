"""How Sphinx builds these pages.  Nothing here needs the network."""

from igwn_style_client import __version__

project = "igwn-style-client"
author = "The igwn-style-client developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]

default_role = "py:obj"
smartquotes = False  # "latest" is copied into programs
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"igwn-style-client {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
