"""Video files in, one age with an interval for every tracked person out. Needs the extra ``video``."""
