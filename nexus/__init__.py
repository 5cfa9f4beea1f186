"""Nexus: distil teacher models into a small linear-time student, live with it, and build on its parts.

Importing this package is cheap: it loads neither torch nor any other third-party library.
"""

import logging

__version__ = "0.1.0"

# A library stays silent until its user asks; the handler keeps logging's "last resort" printer out of the way.
logging.getLogger("nexus").addHandler(logging.NullHandler())
