"""``ssr-train fit-crop``: which cut of a face a network answers best on, measured."""
