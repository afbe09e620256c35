"""One module a stage, each launched by itself.

A launch (`python -m moxin_recipes.stages.NAME`, which `accelerate launch` runs) chooses its Hub
here, before any Hugging Face library is imported. Imported as a library, it chooses nothing.
"""

import sys

from moxin_recipes import ending, environment

# What Python sets while it looks for the module of `-m`.
if sys.argv[0] == "-m":
    environment.choose()
    ending.be_ready()
